//! What it costs to ask a kernel that has to be booted for it.
//!
//! `cargo bench --bench guests` prints, for each User-Mode Linux of the cache, the time of one scenario
//! beside the time of the bare kernel with an init that only switches it off, in turn, and their ratio;
//! then the time of the whole bundle on this kernel and on all of those.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nsharness::kernel::cache::Cache;
use nsharness::kernel::{Flavour, Kernel};
use nsharness::target::guest::initramfs::Archive;

const TURNS: usize = 5;
const BINARY: &str = env!("CARGO_BIN_EXE_nsharness");

const SCENARIO: &str = "\
title: A file that was written can be read
steps:
  - write: { path: f, data: hello }
  - read: { path: f, expect: { data: hello } }
";

fn main() {
    // `cargo test --benches` and the like only want to know that it runs.
    let once = std::env::args().any(|argument| argument == "--test");
    let kernels = match Cache::of_user() {
        Ok(cache) => cache.kernels(Flavour::Uml).map(|cached| cached.kernel()).collect(),
        Err(_) => Vec::new(),
    };
    if kernels.is_empty() || cfg!(not(target_arch = "x86_64")) {
        println!("skipped: no User-Mode Linux in the cache; nsharness kernel fetch debian:12");
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("one.yaml"), SCENARIO).expect("a scenario");
    let initramfs = place.path().join("bare.cpio");
    write_bare(&initramfs).expect("a file system");
    for kernel in &kernels {
        one_scenario(kernel, place.path(), &initramfs, if once { 1 } else { TURNS });
    }
    if !once {
        whole_bundle(&kernels);
    }
}

fn one_scenario(kernel: &Kernel, place: &Path, initramfs: &Path, turns: usize) {
    let (mut bare, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let directory = place.join("uml");
        fs::create_dir_all(&directory).expect("a directory");
        let mut command = kernel.command(&directory).expect("a kernel that can be started");
        command
            .args(["mem=512M", "con=null", "con0=null,fd:1", "ssl=null", "quiet", "panic=-1"])
            .arg(format!("initrd={}", initramfs.display()))
            .args([format!("uml_dir={}/", directory.display()), "umid=bare".to_owned()]);
        bare.push(time(command, None));
        let mut command = Command::new(BINARY);
        command.args(["run", "one.yaml", "--on", &kernel.name]).current_dir(place);
        asked.push(time(command, Some(0)));
    }
    let (bare, asked) = (median(bare), median(asked));
    println!(
        "{}: bare boot {:.2} s, one scenario {:.2} s, ratio {:.2}",
        kernel.name,
        bare.as_secs_f64(),
        asked.as_secs_f64(),
        asked.as_secs_f64() / bare.as_secs_f64()
    );
}

fn whole_bundle(kernels: &[Kernel]) {
    let names: Vec<_> = kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    let on = format!("host,{}", names.join(","));
    let mut command = Command::new(BINARY);
    command.args(["matrix", "scenarios", "--on", &on]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let took = time(command, None);
    println!("the whole bundle on {on}: {:.1} s", took.as_secs_f64());
}

/// How long a command takes, which must end with this status.
fn time(mut command: Command, status: Option<i32>) -> Duration {
    let began = Instant::now();
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = command.status().expect("a command that can be started");
    assert!(status.is_none() || ended.code() == status, "{command:?} ended with {ended}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A first file system whose init is nothing but reboot(2).
fn write_bare(path: &Path) -> std::io::Result<()> {
    const ADDRESS: u64 = 0x40_0000;
    // reboot(LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF), for ever.
    const CODE: &[u8] = &[
        0xb8, 0xa9, 0, 0, 0, // mov eax, SYS_reboot
        0xbf, 0xad, 0xde, 0xe1, 0xfe, // mov edi, 0xfee1dead
        0xbe, 0x69, 0x19, 0x12, 0x28, // mov esi, 0x28121969
        0xba, 0xdc, 0xfe, 0x21, 0x43, // mov edx, 0x4321fedc
        0x0f, 0x05, // syscall
        0xeb, 0xe8, // jmp to the beginning
    ];
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // The rest of Elf64_Ehdr: an executable for x86-64 with one program header behind it.
    for half in [2_u16, 62] {
        program.extend(half.to_le_bytes());
    }
    program.extend(1_u32.to_le_bytes());
    for word in [ADDRESS + 120, 64, 0] {
        program.extend(word.to_le_bytes());
    }
    program.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    // Elf64_Phdr: everything is loaded, to be read and executed.
    for word in [1_u32, 5] {
        program.extend(word.to_le_bytes());
    }
    let length = 120 + CODE.len() as u64;
    for word in [0, ADDRESS, ADDRESS, length, length, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(CODE);
    let mut archive = Archive::new(File::create(path)?);
    archive.device("/dev/console", 0o600, (5, 1))?;
    archive.file("/init", 0o755, &program)?;
    archive.finish().map(drop)
}
