//! What a kernel says when something is wrong with it.

/// The beginnings of lines that tell of a bug in the kernel, or of its end; of the end of the memory too.
const BEGINNINGS: &[&str] = &[
    "BUG: ",
    "BUG at ",
    "INFO: task ",
    "Internal error: ",
    "KASAN: ",
    "KCSAN: ",
    "KFENCE: ",
    "Kernel panic - not syncing",
    "Oops: ",
    "Out of memory: ",
    "UBSAN: ",
    "WARNING: CPU: ",
    "WARNING: at ",
    "WARNING: possible ",
    "general protection fault",
    "kernel BUG at ",
    "rcu: INFO: ",
    "refcount_t: ",
    "stack segment: ",
    "unable to handle kernel ",
    "watchdog: BUG: ",
];

/// Whether a line of a kernel's log tells of a bug in the kernel or of its end.
pub fn in_line(line: &str) -> bool {
    let text = without_head(line);
    // Where a warning is not followed by the processor it is by the place in the source (Linux 6.18).
    let in_source = || text.contains(".c:") || text.contains(".h:");
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        || text.starts_with("WARNING: ") && in_source()
}

/// A line of a console without what stands before its text: `<4>`, `[    1.234567] `, `[    T1] `.
fn without_head(line: &str) -> &str {
    let mut text = line.trim_start();
    if let Some((level, rest)) = text.strip_prefix('<').and_then(|rest| rest.split_once('>'))
        && level.chars().all(|c| c.is_ascii_digit())
    {
        text = rest;
    }
    while let Some((head, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && head.chars().all(|c| c.is_ascii_digit() || " .TC".contains(c))
    {
        text = rest.trim_start();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_or_the_end_of_a_kernel_is_recognised() {
        for line in [
            "WARNING: CPU: 0 PID: 41 at fs/namespace.c:1262 cleanup_mnt+0x13f/0x150",
            "WARNING: fs/overlayfs/dir.c:1301 at ovl_rename+0x8f1/0x9a0, CPU#0: worker/12",
            "[    3.141592] WARNING: possible circular locking dependency detected",
            "[   12.345678][    T1] BUG: unable to handle page fault for address: ffffc90000000000",
            "<0>Kernel panic - not syncing: Kernel mode signal 7",
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "Out of memory: Killed process 77 (nsharness) total-vm:300000kB, anon-rss:1kB",
            "INFO: task umount:99 blocked for more than 120 seconds.",
            "refcount_t: underflow; use-after-free.",
        ] {
            assert!(in_line(line), "{line}");
        }
    }

    #[test]
    fn what_a_healthy_kernel_says_is_no_trouble() {
        for line in [
            "",
            "[    0.000000] random: crng init done",
            "overlayfs: upper fs does not support tmpfile.",
            "Warning: unable to open an initial console.",
            "WARNING: The mand mount option has been deprecated and",
            "process '/init' started with executable stack",
            "Memory cgroup out of memory: Killed process 5 (sh)",
            "nsharness: BUG: this is not the kernel's",
            "[what] BUG: neither",
        ] {
            assert!(!in_line(line), "{line}");
        }
    }
}
