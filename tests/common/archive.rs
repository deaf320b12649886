//! An archive of packages that no network reaches.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Done, Place, User, json_lines};

/// An archive and its client: scripts that answer as apt does, from files in a directory.
pub struct Client {
    pub place: Place,
}

const APT_GET: &str = r#"#!/bin/sh
here=${0%/bin/*}
for last; do
  case "$last" in Dir::Etc::sourcelist=*) sources=${last#*=};; esac
done
case "$*" in
  *indextargets*) cat "$here/targets";;
  *--print-uris*) cat "$here/addresses";;
  *update*)
    cat "$sources" >>"$here/sources"
    if [ -e "$here/hangs" ]; then echo $$ >"$here/running"; exec sleep 60; fi
    if [ -e "$here/update" ]; then cat "$here/update" >&2; exit 100; fi;;
  *download*)
    if [ -e "$here/download" ]; then cat "$here/download" >&2; exit 100; fi
    : >"${last%%=*}_${last#*=}_amd64.deb"
    echo "$last" >>"$here/downloaded";;
esac
"#;

const APT_CACHE: &str = r#"#!/bin/sh
here=${0%/bin/*}
for last; do :; done
[ -e "$here/index/$last" ] || { echo "E: No packages found" >&2; exit 100; }
cat "$here/index/$last"
"#;

const DPKG_DEB: &str = r#"#!/bin/sh
here=${0%/bin/*}
if [ -e "$here/unpack" ]; then cat "$here/unpack" >&2; exit 2; fi
name=${2##*/}
cp -r "$here/packages/${name%%_*}/." "$3"
"#;

/// What stands for a User-Mode Linux. With a word it wants a C library of its own, as one of a newer suite.
const KERNEL: &str = r#"
#include <stdio.h>
#include <string.h>
const char *const marks[] = { "Linux version RELEASE (a@b)", "uml_dir=" };
static int maps(const char *what) {
    char line[4096];
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && fgets(line, sizeof line, file))
        if (strstr(line, what)) return 1;
    return 0;
}
int main(int argc, char **argv) {
    if (OWN && !(maps("/libc/ld-linux") && maps("/libc/libc.so.6"))) {
        fputs("version `GLIBC_2.99' not found\n", stderr);
        return 1;
    }
    if (argc == 2 && !strcmp(argv[1], "--version")) puts("RELEASE");
    return *marks[argc % 2] == 0;
}
"#;

impl Client {
    /// The archive has a User-Mode Linux of this release.
    pub fn new(release: &str) -> Self {
        let client = Self { place: Place::new() };
        for (name, script) in
            [("apt-get", APT_GET), ("apt-cache", APT_CACHE), ("dpkg-deb", DPKG_DEB)]
        {
            let path = client.place.write(&format!("bin/{name}"), script);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        client.place.write("targets", "http://mirror.example/debian/\n");
        client.place.write("addresses", "");
        client.place.write("keys", "");
        client.kernel(release, false);
        client
    }

    /// Puts a User-Mode Linux of a release into the archive, as its newest.
    pub fn kernel(&self, release: &str, own_libc: bool) {
        self.package("user-mode-linux", &format!("{release}um1"), "libc6");
        let program = self.place.path().join("packages/user-mode-linux/usr/bin/linux.uml");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        compile(&program, release, own_libc);
        let module =
            format!("packages/user-mode-linux/usr/lib/uml/modules/{release}/kernel/fs/a.ko");
        self.place.write(&module, "a module");
    }

    pub fn package(&self, name: &str, version: &str, depends: &str) {
        let paragraph = format!(
            "Package: {name}\nVersion: {version}\nDepends: {depends}\nSize: 1500000\nSHA256: {version}\n"
        );
        self.place.write(&format!("index/{name}"), &paragraph);
        fs::create_dir_all(self.place.path().join("packages").join(name)).unwrap();
    }

    pub fn command(&self, user: User, arguments: &[&str]) -> Command {
        let mut command = self.place.command(user);
        command
            .arg("kernel")
            .args(arguments)
            .env("PATH", format!("{}/bin:/usr/bin:/bin", self.place.path().display()))
            .env("NSHARNESS_CACHE", self.place.path().join("cache"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(User::Own, arguments).output().unwrap())
    }

    pub fn fetch(&self) -> Done {
        self.run(&["fetch", "debian:12", "--keyring", "keys"])
    }

    /// The names that are listed, in order.
    pub fn names(&self) -> Vec<String> {
        let done = self.run(&["list", "--json"]).expect_code(0);
        let names =
            json_lines(&done.stdout).into_iter().filter(|line| line["origin"] != "installed");
        names.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    }

    pub fn cache(&self) -> PathBuf {
        self.place.path().join("cache/kernels")
    }

    /// Everything in the cache, staging directories too.
    pub fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache()).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub fn compile(program: &Path, release: &str, own_libc: bool) {
    let source = program.with_extension("c");
    let own = if own_libc { "1" } else { "0" };
    fs::write(&source, KERNEL.replace("RELEASE", release).replace("OWN", own)).unwrap();
    let status = Command::new("cc").arg("-o").arg(program).arg(&source).status().unwrap();
    assert!(status.success());
    fs::remove_file(source).unwrap();
}
