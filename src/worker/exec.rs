//! Running a program in a child of the actor.

use std::ffi::CString;
use std::io::Read;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};

use super::credentials::PROGRAM_NAME;
use super::perform::{Named, Performed, c_string, failure};
use crate::sandbox;
use crate::scenario::operation::Exec;
use crate::sys;
use crate::transcript::{Outcome, Value, Values, text};

/// How much of what a program prints is kept.
const OUTPUT_BYTES: usize = 64 << 10;

pub fn perform(step: &Exec) -> Performed {
    let path = c_string(step.path.as_str(), "execve")?;
    let arguments = std::iter::once(step.path.as_str()).chain(step.args.iter().map(String::as_str));
    let arguments: Vec<CString> =
        arguments.map(|a| c_string(a, "execve")).collect::<Result<_, _>>()?;
    let mut environment = step.env.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
    environment.push(format!("{PROGRAM_NAME}=credentials"));
    let environment: Vec<CString> =
        environment.iter().map(|e| c_string(e, "execve")).collect::<Result<_, _>>()?;

    let (mut output, to_output) = std::io::pipe().of("pipe2")?;
    let (mut failed, to_failed) = std::io::pipe().of("pipe2")?;
    let child = sys::vfork(|| {
        let Err(errno) = rustix::stdio::dup2_stdout(&to_output)
            .map_err(sandbox::errno)
            .and_then(|()| nix::unistd::execve(&path, &arguments, &environment));
        let _ = rustix::io::write(&to_failed, &(errno as i32).to_le_bytes());
    });
    drop((to_output, to_failed));
    let child = child.of("fork")?;
    // The descriptor is closed by a successful execve(2), and written to by a failed one.
    let mut errno = [0; 4];
    if failed.read_exact(&mut errno).is_ok() {
        waitpid(child, None).of("waitpid")?;
        return Err(failure("execve", Errno::from_raw(i32::from_le_bytes(errno))));
    }
    let printed = read_limited(&mut output).of("read")?;
    let status = waitpid(child, None).of("waitpid")?;
    Ok(Outcome::Ok(values(&printed, status)))
}

/// Reads to the end, keeps the start: a program that prints for ever ends with the scenario's time.
fn read_limited(output: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match output.read(&mut buffer)? {
            0 => return Ok(kept),
            length => {
                let room = OUTPUT_BYTES - kept.len();
                kept.extend_from_slice(&buffer[..length.min(room)]);
            }
        }
    }
}

fn values(printed: &[u8], status: WaitStatus) -> Values {
    let printed = text(printed);
    // `program: credentials` prints values; anything else is just text.
    let mut values: Values = serde_json::from_str(&printed).unwrap_or_default();
    if values.is_empty() {
        values.insert("stdout".into(), printed.into());
    }
    match status {
        WaitStatus::Exited(_, code) => {
            drop(values.insert("status".into(), Value::Number(code.into())))
        }
        WaitStatus::Signaled(_, signal, _) => {
            values.insert("signal".into(), Value::Number(signal as i64));
        }
        _ => {}
    }
    values
}
