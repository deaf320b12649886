//! Processes that lie or die: workers of this kernel, and what calls itself a kernel and its agent. The run is never
//! green, ends in its time, and what was not lied about is answered.
//!
//! Workers are forks, so this has one thread and no test harness. A guest's kernel is a copy of this program: it is
//! started as User-Mode Linux is, and speaks as the agent does, until it comes to the plan that it lies about.
#![allow(clippy::print_stdout, reason = "it is a harness of its own")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Done, Place, User, json_lines};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use nsharness::channel;
use nsharness::diag::Source;
use nsharness::exit_code::ExitCode;
use nsharness::model::predict;
use nsharness::probe::Environment;
use nsharness::report::json::Json;
use nsharness::report::{Part, Reporter};
use nsharness::run::{Asked, Options, Share, Takes, exit_code, run};
use nsharness::scenario::plan::Plan;
use nsharness::scenario::{Case, FoundFile, KnownNames, resolve};
use nsharness::shard::Shard;
use nsharness::snapshot;
use nsharness::target::Opener;
use nsharness::target::guest::frame::{Decoder, Encoder};
use nsharness::target::guest::message::{PROTOCOL, Reply, Request};
use nsharness::target::host::{Host, Life};
use nsharness::transcript::Transcript;
use nsharness::worker::{Answer, Worker};

/// What is asked: `b` is lied about, and three others are not.
const IDS: [&str; 4] = ["a", "b", "c", "d"];

fn main() {
    let of_guest = std::env::args().find_map(|word| word.strip_prefix("ssl0=fd:")?.parse().ok());
    if let Some(line) = of_guest {
        guest(line);
    }
    if std::env::args().any(|word| word == "--list") {
        return;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word));
    for (name, life) in WORKERS {
        let name = format!("a worker that {name}");
        if is_wanted(&name) {
            ask_workers(&name, *life);
            println!("test {name} ... ok");
        }
    }
    let place = Place::new();
    let kernel = impostor(&place);
    for (name, _) in GUESTS {
        let name = format!("a guest that {name}");
        if is_wanted(&name) {
            ask_guest(&place, &kernel, &name);
            println!("test {name} ... ok");
        }
    }
}

// Workers of this kernel.

const WORKERS: &[(&str, Life)] = &[
    ("tells the truth", |socket, _| work(socket, |_, _, truth| Some(truth))),
    ("numbers its answer wrong", |socket, _| {
        work(socket, |_, number, truth| {
            *number += 1;
            Some(truth)
        })
    }),
    ("answers twice", |socket, _| {
        work(socket, |socket, number, truth| {
            channel::send(socket, &(*number, &truth)).expect("a reader");
            Some(truth)
        })
    }),
    ("answers before it is asked", |mut socket, _| {
        let answer = Answer::Missing(Vec::new());
        channel::send(&mut socket, &(0, answer)).expect("a reader");
        work(socket, |_, _, truth| Some(truth))
    }),
    ("does not know why", |socket, _| work(socket, |_, _, _| Some(Answer::Missing(Vec::new())))),
    ("leaves a step out", |socket, _| work(socket, |_, _, truth| Some(less(truth)))),
    ("says what is none", |socket, _| {
        work(socket, |socket, number, _| {
            channel::send(socket, &(*number, "ok")).expect("a reader");
            None
        })
    }),
    ("babbles", |socket, _| {
        work(socket, |socket, _, _| {
            let _ = socket.write_all(&b"ok 1 - everything is fine\n".repeat(1000));
            None
        })
    }),
    ("says nothing", |socket, _| {
        work(socket, |socket, _, _| {
            socket.write_all(&[0; 4]).expect("a reader");
            None
        })
    }),
    ("stops in the middle", |socket, _| {
        work(socket, |socket, number, truth| {
            let message = channel::encode(&(*number, truth)).expect("JSON");
            socket.write_all(&message[..message.len() / 2]).expect("a reader");
            loop {
                sleep(Duration::from_secs(3600));
            }
        })
    }),
    ("dies in the middle", |socket, _| {
        work(socket, |socket, number, truth| {
            let message = channel::encode(&(*number, truth)).expect("JSON");
            socket.write_all(&message[..message.len() / 2]).expect("a reader");
            nsharness::sys::exit_now(0)
        })
    }),
    ("ends as if all were well", |socket, _| work(socket, |_, _, _| nsharness::sys::exit_now(0))),
    ("is killed", |socket, _| {
        work(socket, |_, _, _| {
            raise(Signal::SIGKILL).expect("a signal");
            None
        })
    }),
    ("is killed after its answer", |socket, _| {
        work(socket, |socket, number, truth| {
            channel::send(socket, &(*number, truth)).expect("a reader");
            raise(Signal::SIGKILL).expect("a signal");
            None
        })
    }),
];

/// The life of a worker that tells the truth of everything but `b`.
fn work(mut socket: UnixStream, lie: fn(&mut UnixStream, &mut u64, Answer) -> Option<Answer>) -> ! {
    let worker = Worker::new().expect("a worker");
    while let Ok(Some((mut number, plan))) = channel::receive::<(u64, Plan)>(&mut socket) {
        let truth = worker.run(&plan);
        let answer =
            if plan.id == "b" { lie(&mut socket, &mut number, truth) } else { Some(truth) };
        if answer.is_some_and(|answer| channel::send(&mut socket, &(number, answer)).is_err()) {
            break;
        }
    }
    nsharness::sys::exit_now(0)
}

fn less(mut answer: Answer) -> Answer {
    if let Answer::Asked(transcript) = &mut answer {
        transcript.outcomes.pop();
    }
    answer
}

fn text(id: &str) -> String {
    format!(
        "title: {id}\nsteps:\n  - write: {{ path: f, data: {id}{id} }}\n  - read: {{ path: f, expect: {{ data: {id}{id} }} }}\n"
    )
}

fn case(id: &str) -> Case {
    let source = Arc::new(Source { name: id.into(), text: text(id) });
    let file = FoundFile { id: id.into(), path: id.into(), base: PathBuf::new() };
    resolve(&file, &source, KnownNames { probes: &[] }).expect("a scenario").remove(0)
}

fn ask_workers(name: &str, life: Life) {
    let cases: Vec<_> = IDS.iter().map(|id| case(id)).collect();
    let host = Host::of(1, life).expect("a worker");
    let target = "host".to_owned();
    let opener = Opener::at(host, Environment::of_host(false));
    let asked = Asked { kernel: target.clone(), target, opener, takes: Takes::ALL };
    let count = cases.len();
    let part = Part {
        shard: Shard::WHOLE,
        scenarios: count,
        selected: count,
        digest: String::new(),
        shared: false,
    };
    let options = Options {
        snapshots: snapshot::Mode::Check,
        fail_fast: false,
        keep: None,
        model: false,
        record: None,
        probes: Default::default(),
        guests: 1,
        share: Share::Every,
        part,
        retries: 0,
        refuse_flaky: false,
        only: None,
    };
    let began = Instant::now();
    let mut report = Vec::new();
    let mut json = Json::new(&mut report);
    let totals = run(&cases, vec![asked], options, &mut [&mut json]).expect("a report");
    json.end(&totals).expect("memory");
    drop(json);
    let text = String::from_utf8(report).expect("JSON");
    let expected =
        if name.ends_with("the truth") { ExitCode::AsExpected } else { ExitCode::Broken };
    assert_eq!(exit_code(&totals), expected, "{name}:\n{text}");
    // What was not lied about, or waited behind it, is answered.
    let always = name.ends_with("before it is asked");
    assert!(always || totals.all.passed >= 2, "{name}:\n{text}");
    assert!(began.elapsed() < Duration::from_secs(40), "{name}: {:?}", began.elapsed());
}

// What calls itself a kernel.

/// The line to who asks, and what is to be said of `b`.
struct Line {
    out: UnixStream,
    encoder: Encoder,
    number: usize,
    truth: Transcript,
}

type Lie = fn(&mut Line);

const GUESTS: &[(&str, Lie)] = &[
    ("tells the truth", |line| line.answer()),
    ("answers twice", |line| {
        line.answer();
        line.say(&line.reply(line.number));
    }),
    ("answers what it has not begun", |line| line.say(&line.reply(line.number))),
    ("begins twice", |line| {
        line.say(&Reply::Begun { number: line.number });
        line.answer();
    }),
    ("answers what it was not asked", |line| {
        line.say(&Reply::Begun { number: line.number });
        line.say(&line.reply(line.number + 50));
    }),
    ("begins what it was not asked", |line| {
        line.say(&Reply::Begun { number: line.number + 50 });
        line.answer();
    }),
    ("answers as if it were many", |line| {
        let transcripts = vec![line.truth.clone()];
        line.say(&Reply::Begun { number: line.number });
        line.say(&Reply::AnswerAll { number: line.number, transcripts, troubles: Vec::new() });
    }),
    ("leaves a step out", |line| {
        line.truth.outcomes.pop();
        line.answer();
    }),
    ("says what it is once more", |line| {
        line.say(&hello("9.9.9"));
        line.answer();
    }),
    ("is another kernel when it is started again", |line| {
        // The next life of this program sees that this one was there.
        line.say(&Reply::Begun { number: line.number });
        exit();
    }),
    ("speaks another protocol when it is started again", |_| exit()),
    ("babbles", |line| {
        let _ = line.out.write_all(&[b'x'; 64 << 10]);
        line.answer();
    }),
    ("never stops to babble", |line| {
        loop {
            line.write(&[b'x'; 1 << 10]);
        }
    }),
    ("has taken everything and more, and never stops to say so", |line| {
        line.say(&Reply::Begun { number: line.number });
        loop {
            line.say(&Reply::Taken { bytes: usize::MAX });
        }
    }),
    ("says a message that is none", |line| {
        let message = line.encoder.encode(&"ok").expect("JSON");
        line.write(&message);
        line.answer();
    }),
    ("damages a frame", |line| {
        line.say(&Reply::Begun { number: line.number });
        let mut message = line.encoder.encode(&line.reply(line.number)).expect("JSON");
        *message.last_mut().expect("a byte") ^= 1;
        line.write(&message);
        stay();
    }),
    ("stops in the middle of a frame", |line| {
        line.say(&Reply::Begun { number: line.number });
        let message = line.encoder.encode(&line.reply(line.number)).expect("JSON");
        line.write(&message[..message.len() - 1]);
        stay();
    }),
    ("ends in the middle of a frame", |line| {
        line.say(&Reply::Begun { number: line.number });
        let message = line.encoder.encode(&line.reply(line.number)).expect("JSON");
        line.write(&message[..message.len() - 1]);
        exit();
    }),
    ("ends before it begins", |_| exit()),
    ("ends when it has begun", |line| {
        line.say(&Reply::Begun { number: line.number });
        exit();
    }),
    ("ends after its answer", |line| {
        line.answer();
        exit();
    }),
    ("is killed", |line| {
        line.say(&Reply::Begun { number: line.number });
        raise(Signal::SIGKILL).expect("a signal");
    }),
    ("leaves before it begins, and always", |line| {
        line.say(&Reply::Leaving);
        exit();
    }),
    ("complains and answers", |line| {
        line.say(&Reply::Begun { number: line.number });
        let answer = Box::new(Answer::Asked(Box::new(line.truth.clone())));
        let troubles = vec!["WARNING: something".to_owned()];
        line.say(&Reply::Answer { number: line.number, answer, troubles });
    }),
];

impl Line {
    fn write(&mut self, bytes: &[u8]) {
        if self.out.write_all(bytes).is_err() {
            exit();
        }
    }

    fn say(&mut self, reply: &Reply) {
        let message = self.encoder.encode(reply).expect("JSON");
        self.write(&message);
    }

    fn reply(&self, number: usize) -> Reply {
        let answer = Box::new(Answer::Asked(Box::new(self.truth.clone())));
        Reply::Answer { number, answer, troubles: Vec::new() }
    }

    fn answer(&mut self) {
        self.say(&Reply::Begun { number: self.number });
        self.say(&self.reply(self.number));
    }
}

fn hello(release: &str) -> Reply {
    let mut environment = Environment::of_host(true);
    environment.release = release.to_owned();
    Reply::Hello { protocol: PROTOCOL, environment: Box::new(environment), notes: Vec::new() }
}

/// The path of this program: it is called as a kernel is.
fn program() -> PathBuf {
    std::env::current_exe().expect("a path")
}

/// Whether this program was started before: a pipe beside it has a byte for its first life alone. Everything else here
/// is read-only.
fn is_second_life() -> bool {
    let pipe = program().with_extension("lives");
    let pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(pipe);
    pipe.and_then(|mut pipe| pipe.read_exact(&mut [0])).is_err()
}

fn exit() -> ! {
    std::process::exit(0)
}

fn stay() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

/// The life of a guest: what it lies is in the name of its program.
fn guest(line: i32) -> ! {
    #[allow(unsafe_code, reason = "it is inherited by its number")]
    // SAFETY: whoever starts a User-Mode Linux gives it this descriptor, and nothing else here has it.
    let mut line = unsafe { UnixStream::from_raw_fd(line) };
    let name = program().file_stem().map(|name| name.to_string_lossy().into_owned());
    let number = name.as_deref().and_then(|name| name.rsplit('-').next()?.parse::<usize>().ok());
    let (name, lie) = GUESTS[number.expect("a number")];
    let out = line.try_clone().expect("a descriptor");
    let truth = Transcript::broken(nsharness::transcript::Breakage {
        stage: String::new(),
        detail: String::new(),
        errno: None,
    });
    let mut to = Line { out, encoder: Encoder::default(), number: 0, truth };
    let again = is_second_life();
    let mut first = hello(if again && name.contains("another kernel") { "8.8.8" } else { "9.9.9" });
    if let (Reply::Hello { protocol, .. }, true) =
        (&mut first, again && name.contains("another protocol"))
    {
        *protocol += 1;
    }
    to.say(&first);
    let profile = Environment::of_host(true).profile();
    let mut decoder = Decoder::default();
    let mut bytes = [0; 4096];
    let mut taken = 0;
    loop {
        match line.read(&mut bytes) {
            Ok(0) | Err(_) => exit(),
            Ok(length) => {
                decoder.feed(&bytes[..length]);
                taken += length;
            }
        }
        to.say(&Reply::Taken { bytes: taken });
        while let Ok(Some(Request::Ask { number, plan })) = decoder.decode() {
            to.number = number;
            to.truth = predict(&plan, &profile).transcript;
            if plan.id == "b" { lie(&mut to) } else { to.answer() }
        }
    }
}

/// A copy of this program that is taken for a kernel.
fn impostor(place: &Place) -> PathBuf {
    let path = place.write("linux", "");
    let mut bytes = fs::read("/proc/self/exe").expect("this program");
    bytes.extend(b"\0Linux version 9.9.9 (nobody)\0uml_dir=\0");
    fs::write(&path, bytes).expect("a copy");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

fn ask_guest(place: &Place, kernel: &Path, name: &str) {
    for id in IDS {
        place.write(&format!("scenarios/{id}.yaml"), &text(id));
    }
    let number = GUESTS.iter().position(|(lie, _)| name.ends_with(lie)).expect("a lie");
    let linux = format!("linux-{number}");
    let _ = fs::remove_file(place.path().join(&linux));
    fs::hard_link(kernel, place.path().join(&linux)).expect("a name");
    let lives = place.path().join(&linux).with_extension("lives");
    let _ = fs::remove_file(&lives);
    mkfifo(&lives, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let mut lives = OpenOptions::new().read(true).write(true).open(&lives).expect("a pipe");
    lives.write_all(b"1").expect("room");
    let began = Instant::now();
    let on = format!("uml:./{linux}");
    let arguments = ["run", "--on", &on, "--witness", "kernel", "--json", "out.json"];
    let mut command = place.command(User::Own);
    let done = Done::of(command.args(arguments).output().unwrap());
    let truth = name.ends_with("the truth");
    assert_eq!(done.code, Some(if truth { 0 } else { 5 }), "{name}: {done:#?}");
    assert!(!done.stderr.contains("panicked"), "{name}: {done:#?}");
    let events = json_lines(&place.read("out.json"));
    let passed = IDS
        .iter()
        .filter(|id| events.iter().any(|event| event["id"] == **id && event["status"] == "pass"));
    let always = name.contains("again") || name.contains("always");
    let expected = if always { 1 } else { 2 };
    assert!(passed.count() >= expected, "{name}: {done:#?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{name}: {:?}", began.elapsed());
}
