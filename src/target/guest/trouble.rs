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
    let text = without_time(line);
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        || text.starts_with("WARNING: ") && text.contains(" at ")
}

/// A line of a console without `[    1.234567] ` before it.
fn without_time(line: &str) -> &str {
    let line = line.trim_start();
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((time, text)) if time.chars().all(|c| c.is_ascii_digit() || " .TC".contains(c)) => {
            text
        }
        _ => line,
    }
}
