# Run it: sh repro.sh
# It exits with 1 where anything deviates, with 0 where nothing does, with 2 where it cannot be asked.
# It needs coreutils, util-linux, perl, and attr where attributes are set.
export LC_ALL=C
if [ "$1" != inside ]; then
	unshare $who --mount true || exit 2
	exec unshare $who --mount --propagation private sh "$0" inside
fi
umask 022
mount -t tmpfs -o $flags sandbox /tmp && cd /tmp || exit 2

deviates=0

need() { "$@" || { echo "it cannot be asked: $*" >&2; exit 2; }; }

# step WHAT ERROR PRINTS COMMAND...: PRINTS is what is printed behind a `=`, or nothing if that does not matter.
step() {
	what=$1 error=$2 prints=$3
	shift 3
	command -v "$1" >/dev/null || { echo "it cannot be asked: there is no $1" >&2; exit 2; }
	# In this shell, for cd, but for what is printed.
	if [ "$1" = cd ]; then
		cd "$2" 2>/dev/null; status=$? found=
		[ $status = 0 ] || found=$(cd "$2" 2>&1; perl -e 'chdir $ARGV[0] or print $!' "$2")
	else
		found=$("$@" 2>&1; echo "=$?")
		status=${found##*=} found=${found%=*}
	fi
	right=no
	case $error in
	any) right=yes ;;
	'') [ "$status" = 0 ] && { [ -z "$prints" ] || [ "=$found" = "$prints" ]; } && right=yes ;;
	fails) [ "$status" != 0 ] && right=yes ;;
	*) [ "$status" != 0 ] && case $found in *"$error"*) right=yes ;; esac ;;
	esac
	printf '%s: %s%s\n' "$what" "$([ "$status" = 0 ] && echo ok || echo failed)" "${found:+: $found}"
	if [ $right = no ]; then
		deviates=1
		printf '    THIS DEVIATES, expected: %s\n' "${error:-ok${prints:+: ${prints#=}}}"
	fi
}

write() { printf '%s' "$2" | tee "$1" >/dev/null; }
append() { printf '%s' "$2" | tee -a "$1" >/dev/null; }
# mv(1) copies where rename(2) gives EXDEV, ln(1) looks before it links, mkdir(1) changes the mode afterwards, truncate(1) opens the file.
rename_it() { perl -e 'rename $ARGV[0], $ARGV[1] or die "$!\n"' "$1" "$2"; }
link_it() { perl -e 'link $ARGV[0], $ARGV[1] or die "$!\n"' "$1" "$2"; }
make_directory() { perl -e 'mkdir $ARGV[0], oct $ARGV[1] or die "$!\n"' "$1" "$2"; }
cut() { perl -e 'truncate $ARGV[0], $ARGV[1] or die "$!\n"' "$1" "$2"; }
is_mounted() { mountpoint -q "$1" && printf yes || { [ -e "$1" ] && printf no; }; }
