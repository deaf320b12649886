//- said answer
/* What a step gave: 0 or an error, the system call that gave it, and values. */
struct answer {
	int error;
	int pid;
	char call[24];
	char values[4000];
};
static struct answer said;
//- result
static long result(const char *call, long returned)
{
	said.error = returned < 0 ? errno : 0;
	snprintf(said.call, sizeof said.call, "%s", call);
	return returned;
}
//- say
__attribute__((format(printf, 2, 3)))
static void say(const char *name, const char *format, ...)
{
	size_t used = strlen(said.values);
	va_list list;

	used += snprintf(said.values + used, sizeof said.values - used, "%s ", name);
	if (used >= sizeof said.values)
		return;
	va_start(list, format);
	vsnprintf(said.values + used, sizeof said.values - used, format, list);
	va_end(list);
	used = strlen(said.values);
	snprintf(said.values + used, sizeof said.values - used, "\n");
}
//- say_text
/* A NUL byte is shown as \0. */
static void say_text(const char *name, const char *text, long length)
{
	static char shown[2 * sizeof said.values];
	size_t used = 0;

	for (long i = 0; i < length && used + 3 < sizeof shown; i++) {
		if (!text[i])
			shown[used++] = '\\';
		shown[used++] = text[i] ? text[i] : '0';
	}
	shown[used] = 0;
	say(name, "%s", shown);
}
//- say_type
static void say_type(mode_t mode)
{
	say("type", "%s", S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "dir" : S_ISLNK(mode) ? "symlink" :
	    S_ISCHR(mode) ? "char" : S_ISBLK(mode) ? "block" : S_ISFIFO(mode) ? "fifo" : "socket");
}
//- by_name
static int by_name(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}
//- say_names
/* Names that follow one another, each with its NUL, sorted. */
static void say_names(const char *names, long length)
{
	static const char *sorted[65536];
	static char joined[sizeof said.values];
	size_t count = 0, used = 0;

	for (const char *name = names; name < names + length && count < 65536; name += strlen(name) + 1)
		sorted[count++] = name;
	qsort(sorted, count, sizeof *sorted, by_name);
	joined[0] = 0;
	for (size_t i = 0; i < count && used < sizeof joined; i++)
		used += snprintf(joined + used, sizeof joined - used, "%s%s", i ? ", " : "", sorted[i]);
	say("names", "%s", joined);
	say("count", "%zu", count);
}
//- list_names
/* The names in a directory, by the system call itself: readdir(3) hides errors. */
static void list_names(int fd)
{
	static char entries[65536], names[1 << 20];
	long length, used = 0;

	lseek(fd, 0, SEEK_SET);
	while ((length = result("getdents64", syscall(SYS_getdents64, fd, entries, sizeof entries))) > 0) {
		for (long at = 0; at < length;) {
			unsigned short size;
			const char *name = entries + at + 19;

			memcpy(&size, entries + at + 16, sizeof size);
			if (strcmp(name, ".") && strcmp(name, "..") && used + (long)strlen(name) < (long)sizeof names)
				used += snprintf(names + used, sizeof names - used, "%s", name) + 1;
			at += size;
		}
	}
	if (!said.error)
		say_names(names, used);
}
//- keep
/* Keeps an open file under a name; what had that name is closed. */
static long keep(int *name, long fd)
{
	if (fd >= 0) {
		if (*name >= 0)
			close(*name);
		*name = fd;
	}
	return fd;
}
//- statfs_type
static void statfs_type(long magic)
{
	static const struct { long magic; const char *name; } known[] = {
		{ 0x01021994, "tmpfs" }, { 0x794c7630, "overlay" }, { 0x9fa0, "proc" }, { 0x62656572, "sysfs" },
		{ 0x858458f6, "ramfs" }, { 0x1cd1, "devpts" }, { 0x19800202, "mqueue" }, { 0x63677270, "cgroup2" },
		{ 0x65735546, "fuse" }, { 0x6969, "nfs" }, { 0xef53, "ext4" }, { 0x58465342, "xfs" },
		{ 0x9123683e, "btrfs" }, { 0x6e736673, "nsfs" },
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].magic == magic) {
			say("type", "%s", known[i].name);
			return;
		}
	say("type", "0x%lx", magic);
}
//- cannot
static void cannot(const char *what)
{
	fprintf(stderr, "it cannot be asked: %s: %s\n", what, strerror(errno));
	_exit(2);
}
//- must
static long must(const char *what, long returned)
{
	if (returned < 0)
		cannot(what);
	return returned;
}
//- need
/* What belongs to the world has to succeed. */
static void need(const char *what)
{
	errno = said.error;
	if (said.error)
		cannot(what);
}
//- directory
static void directory(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		cannot(path);
}
//- file
static void file(const char *path, const char *content, size_t size)
{
	int fd = must(path, open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	if (write(fd, content, size) != (ssize_t)size)
		cannot(path);
	close(fd);
}
//- sparse
static void sparse(const char *path, off_t size)
{
	int fd = must(path, open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	must(path, ftruncate(fd, size));
	close(fd);
}
//- proc
/* /proc as it was before the root was left. */
static int proc;
//- take
static void take(int step);
//- root
static int root;
//- outside
/* The sandbox itself takes a step, from its own root. */
static void outside(int step)
{
	memset(&said, 0, sizeof said);
	must("fchdir", fchdir(root));
	take(step);
}
//- own_pid
/* The id of this process as proc knows it, whatever pid namespace it is in. */
static int own_pid(void)
{
	char pid[16] = "";

	return readlinkat(proc, "self", pid, sizeof pid - 1) > 0 ? atoi(pid) : 0;
}
//- process_file
static int process_file(int pid, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "%d/%s", pid, name);
	return openat(proc, path, flags | O_CLOEXEC);
}
//- write_file
static void write_file(int pid, const char *name, const char *text, size_t length)
{
	int fd = result("open", process_file(pid, name, O_WRONLY));

	if (fd < 0)
		return;
	result("write", write(fd, text, length));
	close(fd);
}
//- say_map
/* The lines of a map, or the word of setgroups, without the spaces. */
static void say_map(int pid, const char *name)
{
	char text[16384] = "", joined[sizeof text] = "";
	size_t used = 0;
	int fd = result("open", process_file(pid, name, O_RDONLY));

	if (fd < 0 || result("read", read(fd, text, sizeof text - 1)) < 0)
		return;
	close(fd);
	for (const char *c = text; *c; c++) {
		int space = *c == ' ' || *c == '\n';

		if (*c == '\n' && c[1])
			used += snprintf(joined + used, sizeof joined - used, ", ");
		else if (!space)
			joined[used++] = *c;
		else if (used && joined[used - 1] != ' ' && *c == ' ')
			joined[used++] = ' ';
	}
	say(name, "%s", joined);
}
//- setns_of
static void setns_of(int pid, const char *name, int kind)
{
	int fd = result("open", process_file(pid, name, O_RDONLY));

	if (fd < 0)
		return;
	result("setns", setns(fd, kind));
	close(fd);
}
//- capabilities
struct capabilities {
	unsigned long long effective, permitted, inheritable;
};
//- say_capabilities
/* The sets of capabilities as /proc/self/status shows them. */
static void say_capabilities(const char *name)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];
	unsigned long long known = 0, set = 0;

	if (result("capget", syscall(SYS_capget, &header, sets)))
		return;
	for (int i = 0; i < 64; i++) {
		struct __user_cap_data_struct *half = &sets[i / 32];
		unsigned int in = *name == 'e' ? half->effective : *name == 'p' ? half->permitted :
				  half->inheritable;

		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0)
			known |= 1ULL << i;
		if (in & 1U << i % 32)
			set |= 1ULL << i;
	}
	if (!set || set == known)
		say(name, set ? "all" : "none");
	else
		say(name, "%016llx", set);
}
//- say_saved
static void say_saved(const char *name)
{
	uid_t real, effective, saved;

	if (!result("getresuid", *name == 's' && name[1] == 'u' ? getresuid(&real, &effective, &saved) :
		    getresgid(&real, &effective, &saved)))
		say(name, "%u", saved);
}
//- set_capabilities
/* Sets capabilities; a set that is (unsigned long long)-1 stays. */
static long set_capabilities(struct capabilities new)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_capget, &header, sets))
		return -1;
	for (int i = 0; i < 2; i++) {
		if (new.effective != (unsigned long long)-1)
			sets[i].effective = new.effective >> (32 * i);
		if (new.permitted != (unsigned long long)-1)
			sets[i].permitted = new.permitted >> (32 * i);
		if (new.inheritable != (unsigned long long)-1)
			sets[i].inheritable = new.inheritable >> (32 * i);
	}
	return syscall(SYS_capset, &header, sets);
}
//- configure
static long configure(int fd, unsigned int command, const char *key, const char *value, int aux)
{
	return result("fsconfig", syscall(SYS_fsconfig, fd, command, key, value, aux));
}
//- overlay_new
/* Mounts an overlay by the new mount API; options are pairs of a key and a value, which may be NULL. */
static void overlay_new(const char *at, const char *const *options, unsigned int attributes)
{
	int fd = result("fsopen", syscall(SYS_fsopen, "overlay", 1)), mount = -1;

	if (fd < 0)
		return;
	for (; *options && !said.error; options += 2)
		configure(fd, options[1] ? 1 : 0, options[0], options[1], 0);
	if (!said.error && configure(fd, 6, NULL, NULL, 0) >= 0)
		mount = result("fsmount", syscall(SYS_fsmount, fd, 1, attributes));
	if (mount >= 0) {
		result("move_mount", syscall(SYS_move_mount, mount, "", AT_FDCWD, at, 4));
		close(mount);
	}
	close(fd);
}
//- line pids me
/* An actor is a process that takes a step when it is told to. */
static int line[ACTORS][2];
static int *pids;
static int me;
//- serve
static void serve(void)
{
	int step;

	for (;;) {
		if (write(line[me][1], &said, sizeof said) != sizeof said ||
		    read(line[me][1], &step, sizeof step) != sizeof step)
			_exit(0);
		memset(&said, 0, sizeof said);
		take(step);
	}
}
//- fork_as
static long fork_as(int child)
{
	long pid = fork();

	if (pid)
		return pid;
	me = child;
	said.pid = own_pid();
	serve();
	return 0;
}
//- follow
/* Goes on in a child: only children enter a new pid or time namespace. */
static void follow(void)
{
	pid_t child = must("fork", fork());

	if (child) {
		waitpid(child, NULL, 0);
		_exit(0);
	}
}
//- leave
static void leave(void)
{
	if (write(line[me][1], &said, sizeof said) != sizeof said)
		_exit(1);
	_exit(0);
}
//- hear
static void hear(int actor)
{
	if (recv(line[actor][0], &said, sizeof said, MSG_WAITALL) != sizeof said) {
		errno = ECHILD;
		cannot("an actor has ended");
	}
}
//- lines
/* A line to each actor, and a table of their pids that all of them see. */
static void lines(void)
{
	pids = mmap(NULL, ACTORS * sizeof *pids, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must("mmap", pids == MAP_FAILED ? -1 : 0);
	for (int i = 0; i < ACTORS; i++)
		must("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line[i]));
}
//- ask
static void ask(int actor, int step)
{
	if (send(line[actor][0], &step, sizeof step, MSG_NOSIGNAL) != sizeof step)
		cannot("an actor has ended");
	hear(actor);
}
//- own_maps
/* Asks for the maps of the user namespace that was just made, which somebody outside has to write. */
static void own_maps(void)
{
	int done;

	said.pid = own_pid();
	said.error = EAGAIN;
	if (write(line[me][1], &said, sizeof said) != sizeof said ||
	    read(line[me][1], &done, sizeof done) != sizeof done)
		_exit(0);
	memset(&said, 0, sizeof said);
}
//- start
static void start(int actor, void (*become)(void), void (*maps)(int))
{
	if (must("fork", fork()) == 0) {
		me = actor;
		if (become)
			become();
		said.pid = own_pid();
		serve();
	}
	hear(actor);
	if (said.error == EAGAIN) {
		int pid = said.pid;

		memset(&said, 0, sizeof said);
		maps(pid);
		need("the maps of an actor");
		ask(actor, 0);
	}
	pids[actor] = said.pid;
}
//- gone
/* Waits until a process that has answered its last step is gone, and its namespaces with it. */
static void gone(int actor)
{
	/* It is known by its number where proc was mounted, which need not be the number that pidfd_open() takes. */
	char path[32], stat[256], state = 0;

	snprintf(path, sizeof path, "%d/stat", pids[actor]);
	for (int tries = 0; tries < 5000 && state != 'Z' && state != 'X'; tries++) {
		int fd = openat(proc, path, O_RDONLY);
		ssize_t length = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
		const char *after;

		if (fd >= 0)
			close(fd);
		if (length <= 0)
			return;
		stat[length] = 0;
		after = strrchr(stat, ')');
		state = after && after[1] ? after[2] : 0;
		if (state != 'Z' && state != 'X')
			usleep(1000);
	}
}
//- show
static void show(const struct answer *what)
{
	if (what->error)
		printf("%s%s%s", strerror(what->error), what->call[0] ? " from " : "", what->call);
	else
		printf("ok");
	for (const char *c = what->values; *c; c++)
		printf("%s%c", c == what->values ? ": " : "", *c != '\n' ? *c : c[1] ? ';' : ' ');
	printf("\n");
}
//- run
static void run(int step)
{
	memset(&said, 0, sizeof said);
	take(step);
}
//- deviates
static int deviates;
//- check
static void check(int step, const char *what, struct answer wanted)
{
	printf("%2d. %s: ", step, what);
	show(&said);
	if (said.error != wanted.error ||
	    (wanted.values[0] && !said.error && strcmp(said.values, wanted.values))) {
		deviates = 1;
		printf("    THIS DEVIATES, expected: ");
		show(&wanted);
	}
}
//- write_own
static void write_own(const char *path, const char *text)
{
	int fd = must(path, open(path, O_WRONLY | O_CLOEXEC));

	must(path, write(fd, text, strlen(text)));
	close(fd);
}
//- real_root
/* As real root, with namespaces for mounts and processes alone. */
static void real_root(void)
{
	errno = EPERM;
	if (geteuid())
		cannot("it takes real root");
	must("unshare namespaces", unshare(CLONE_NEWNS | CLONE_NEWPID | NAMESPACES));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}
//- wait_for
static int wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return 2;
	return WEXITSTATUS(status);
}
//- become_root
/* In the new user namespace: its root. */
static void become_root(void)
{
	must("setresgid", syscall(SYS_setresgid, 0, 0, 0));
	must("setresuid", syscall(SYS_setresuid, 0, 0, 0));
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}
//- enter
/* A root of its own: an empty tmpfs, from which nothing of the machine can be reached. */
static void enter(void)
{
	must("make / private", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	proc = must("/proc", open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
	must("mount a tmpfs", mount("sandbox", "/tmp", "tmpfs", FLAGS, "size=256m,nr_inodes=64k,mode=0755"));
	must("chdir", chdir("/tmp"));
	must("pivot_root", syscall(SYS_pivot_root, ".", "."));
	must("umount the old root", umount2(".", MNT_DETACH));
	must("chdir", chdir("/"));
	root = must("/", open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}
//- mapped_root
/* As root of a new user namespace, which an ordinary user made: root becomes one that nobody is. */
static void mapped_root(const int *unshared, const int *mapped)
{
	char byte = 0, maps[64];

	if (!geteuid()) {
		must("setgroups", syscall(SYS_setgroups, 0, NULL));
		must("setresgid", syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY));
		must("setresuid", syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY));
	}
	prctl(PR_SET_DUMPABLE, 1);
	uid_t uid = geteuid();
	gid_t gid = getegid();
	must("unshare namespaces", unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | NAMESPACES));
	if (write(unshared[1], &byte, 1) != 1 || read(mapped[0], &byte, 1) != 1)
		_exit(2);
	if (!MAPS[0]) {
		write_own("/proc/self/setgroups", "deny");
		snprintf(maps, sizeof maps, "0 %u 1\n", uid);
		write_own("/proc/self/uid_map", maps);
		snprintf(maps, sizeof maps, "0 %u 1\n", gid);
		write_own("/proc/self/gid_map", maps);
	}
	become_root();
}
//- sandbox
/* Namespaces of its own, in which `conduct` is done by the first process. */
static int sandbox(void (*conduct)(void))
{
	int unshared[2], mapped[2];
	char byte = 0, maps[64];
	pid_t child;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (MAPS[0] && geteuid()) {
		errno = EPERM;
		cannot("it names several ids, which takes root");
	}
	must("pipe", pipe2(unshared, O_CLOEXEC));
	must("pipe", pipe2(mapped, O_CLOEXEC));
	alarm(60);
	child = must("fork", fork());
	close((child ? unshared : mapped)[1]);
	if (child) {
		if (MAPS[0] && read(unshared[0], &byte, 1) == 1) {
			snprintf(maps, sizeof maps, "/proc/%d/uid_map", child);
			write_own(maps, MAPS);
			snprintf(maps, sizeof maps, "/proc/%d/gid_map", child);
			write_own(maps, MAPS);
		}
		if (write(mapped[1], &byte, 1) != 1)
			return 2;
		return wait_for(child);
	}
	BECOME;
	child = must("fork", fork());
	if (child)
		return wait_for(child);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter();
	conduct();
	return deviates;
}
