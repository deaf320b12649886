//! What is kept of a case that failed.

use std::fs;
use std::io;
use std::path::Path;

use crate::links;
use crate::scenario::Case;
use crate::target::Target;
use crate::verdict::Verdict;
use crate::whole;

/// Writes what is known of a case that failed into a directory for all of them, or below it one for the target: the
/// plan, what each voice says of the steps, the transcript, the sandbox's mount table and what the kernel said last.
pub(super) fn keep(
    all: &Path,
    of_target: Option<&str>,
    target: &str,
    case: &Case,
    verdict: &Verdict,
) -> io::Result<()> {
    let directory = all.join(of_target.unwrap_or_default()).join(&case.id);
    links::check_directory(all)?;
    links::check_below(all, &directory)?;
    fs::create_dir_all(&directory)?;
    whole::write(&directory.join("plan.json"), &serde_json::to_vec_pretty(&case.plan)?)?;
    whole::write(&directory.join("voices.json"), &serde_json::to_vec_pretty(&verdict.steps)?)?;
    whole::write(&directory.join("reasons.txt"), (verdict.reasons.join("\n") + "\n").as_bytes())?;
    if let Some(transcript) = &verdict.transcript {
        whole::write(&directory.join("transcript.json"), &serde_json::to_vec_pretty(transcript)?)?;
        for (name, text) in &transcript.evidence {
            whole::write(&directory.join(file_name(name)), text.as_bytes())?;
        }
    }
    // Another kernel has a log of its own, and this one's says nothing of it.
    if target != Target::Host.to_string() {
        return Ok(());
    }
    let log =
        kernel_log().unwrap_or_else(|error| format!("the kernel's log cannot be read: {error}\n"));
    whole::write(&directory.join("kernel-log.txt"), log.as_bytes())
}

/// The file of a text. Its name comes from who was asked, and may be a path.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(plain).collect::<String>() + ".txt"
}

/// The last lines of the kernel's log, where this user may read them.
fn kernel_log() -> io::Result<String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    const KEPT: usize = 100;
    let mut file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let mut lines = Vec::new();
    let mut record = vec![0; 8192];
    // One record a read; EAGAIN is the end, EPIPE a record that was overwritten meanwhile.
    loop {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                lines.push(String::from_utf8_lossy(&record[..length]).trim_end().to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let from = lines.len().saturating_sub(KEPT);
    Ok(lines[from..].join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_lies_in_its_directory_whatever_it_is_called() {
        assert_eq!(file_name("kernel-log"), "kernel-log.txt");
        assert_eq!(file_name("../../etc/x"), "------etc-x.txt");
    }
}
