//! What the documents show is so: each command in a block of the language `console` is run, in the order of the page,
//! in a copy of what a checkout has, and gives what stands below it. `...` alone on a line is any lines, `...` within
//! one any text. A command below which nothing stands says whatever it says. Above a block may stand
//!
//! - `<!-- needs: uml:6.12, runc -->`: it is skipped where that is missing, unless `NSHARNESS_REQUIRE` names it;
//! - `<!-- before: command -->`: it is run first, so that what the page takes for granted is there;
//! - `<!-- in: linux -->`: the commands, not those before, are run in that directory;
//! - `<!-- for short: 10m = 2s, ./linux = "$KERNEL" -->`: what is run has the latter for the former, for a reader has
//!   more time, and trees of his own;
//! - `<!-- gives: 0, 1 -->`: the exit status of each command, where they are not all 0;
//! - `<!-- not run: why -->`: it cannot be run here; what it calls nsharness with is understood all the same;
//! - `<!-- file: my.yaml -->`, above a block of YAML: it is written there for the commands below;
//! - `<!-- a part: why -->`, above a block of YAML that is no whole scenario though it has a title.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{Done, Place, User, is_root, root};
use nsharness::diag::Source;
use nsharness::kernel::cache::Cache;
use nsharness::probe;
use nsharness::scenario::{FoundFile, KnownNames, resolve};

/// Declares a test a document, so that they run beside each other.
macro_rules! documents {
    ($($name:ident $file:literal)+) => {
        const DOCUMENTS: &[&str] = &[$($file),+];
        $(
            #[test]
            fn $name() {
                commands_give_what_is_shown($file);
            }
        )+
    };
}

documents! {
    readme "README.md"
    tutorial "docs/tutorial.md"
    howto_runtimes "docs/howto-runtimes.md"
    howto_kernels "docs/howto-kernels.md"
    howto_platforms "docs/howto-platforms.md"
    ci "docs/ci/README.md"
    configuration "docs/configuration.md"
    findings "docs/findings.md"
    inspect "docs/inspect.md"
    install "docs/install.md"
    json "docs/json.md"
    kernels "docs/kernels.md"
    reports "docs/reports.md"
    rules "docs/rules.md"
    scenario_format "docs/scenario-format.md"
    search "docs/search.md"
    shell "docs/shell.md"
}

/// A fenced block, with what stands above it in comments.
#[derive(Debug)]
struct Block {
    language: String,
    /// The line of its first line, from 1.
    line: usize,
    lines: Vec<String>,
    /// What stands above it, by the names in [`NOTES`], with what it says.
    notes: Vec<(String, String)>,
}

/// What may stand above a block.
const NOTES: &[&str] =
    &["needs", "before", "in", "for short", "gives", "not run", "file", "a part"];

impl Block {
    /// What is run where a reader is shown `command`.
    fn for_short(&self, command: &str) -> String {
        let mut command = command.to_owned();
        for (_, pairs) in self.notes.iter().filter(|(name, _)| name == "for short") {
            for pair in pairs.split(", ") {
                let (long, short) = pair.split_once(" = ").expect("`long = short`");
                command = command.replace(long, short);
            }
        }
        command
    }

    /// The exit status of each command.
    fn gives(&self) -> Vec<i32> {
        let Some(codes) = self.note("gives") else { return vec![0; self.commands().len()] };
        codes.split(", ").map(|code| code.parse().expect("an exit status")).collect()
    }

    /// What the notes shorten is there to be shortened.
    fn shortens_nothing(&self) -> Option<&str> {
        let notes = self.notes.iter().filter(|(name, _)| name == "for short");
        let mut long = notes
            .flat_map(|(_, pairs)| pairs.split(", "))
            .map(|pair| pair.split_once(" = ").expect("`long = short`").0);
        long.find(|long| !self.commands().iter().any(|(_, command, _)| command.contains(long)))
    }

    fn note(&self, name: &str) -> Option<&str> {
        self.notes.iter().find(|(named, _)| named == name).map(|(_, text)| text.as_str())
    }

    /// Each command with its line, and what is shown below it.
    fn commands(&self) -> Vec<(usize, &str, Vec<&str>)> {
        let mut commands: Vec<(usize, &str, Vec<&str>)> = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((self.line + number, command, Vec::new()));
            } else if let Some((_, _, shown)) = commands.last_mut() {
                shown.push(line);
            }
        }
        commands
    }
}

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut notes = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, Some(language)) => {
                let (language, notes) = (language.to_owned(), std::mem::take(&mut notes));
                open = Some(Block { language, line: number + 2, lines: Vec::new(), notes });
            }
            (None, None) => {
                let note = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
                match note.and_then(|note| note.split_once(": ")) {
                    Some((name, text)) => notes.push((name.to_owned(), text.to_owned())),
                    None => notes.clear(),
                }
            }
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

fn page(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|why| panic!("{document}: {why}"))
}

/// Whether it is here. The kernels are those of the cache of whoever runs this.
fn is_here(what: &str) -> bool {
    let why = match what {
        _ if what.starts_with("uml") || what.starts_with("qemu") => {
            return common::require(what).is_some();
        }
        "ordinary user" if is_root() => "root runs this",
        "subordinate ids" | "root" if is_root() => return true,
        "root" => "root does not run this",
        "checkout" if root().join(".git").exists() => return true,
        "kernel.fetch" if common::is_required(what) => return true,
        "kernel.fetch" => "it downloads",
        "checkout" => "this is no checkout",
        _ => {
            let found = Command::new("sh").args(["-c", "command -v \"$0\"", what]).output();
            if found.unwrap().status.success() {
                return true;
            }
            "it is not installed"
        }
    };
    common::skip(what, why);
    false
}

/// A copy of what a checkout has.
fn checkout() -> Place {
    let place = Place::new();
    for name in ["scenarios", "snapshots", "docs"] {
        place.copy(name);
    }
    symlink(env!("CARGO_BIN_EXE_nsharness"), place.path().join("nsharness")).unwrap();
    let cache = place.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let kernels = Cache::of_user().ok().map(|cache| cache.directory().to_owned());
    if let Some(kernels) = kernels.filter(|kernels| kernels.is_dir()) {
        symlink(kernels, cache.join("kernels")).unwrap();
    }
    place
}

/// A command as it is typed in a checkout, where nsharness is in the PATH. Which build it is, is no matter.
fn typed(command: &str) -> String {
    command.replace("cargo run --release -- ", "nsharness ")
}

fn run(place: &Place, inside: &str, command: &str) -> Done {
    let template = place.command(User::Own);
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec 2>&1\n{}", typed(command))])
        .current_dir(place.path().join(inside));
    shell.env("FIXTURES", root().join("fixtures"));
    common::take_environment(&mut shell, &template);
    Done::of(shell.env("PATH", path).stdin(std::process::Stdio::null()).output().unwrap())
}

/// The arguments of each nsharness in a line of a shell, as far as its quotes and what stands between commands go.
fn arguments(command: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut depth = 0;
    for c in typed(command).chars() {
        let ends = quote.is_none() && depth == 0 && (c.is_whitespace() || "&|;>#".contains(c));
        match c {
            // A comment, or a file that something is written to: nothing behind it is an argument.
            '#' | '>' if ends && word.is_none() => break,
            _ if ends => {
                commands.last_mut().unwrap().extend(word.take());
                if !c.is_whitespace() {
                    commands.push(Vec::new());
                }
            }
            '\'' | '"' if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            // What another command prints is a word.
            '(' if quote.is_none() => depth += 1,
            ')' if quote.is_none() && depth > 0 => depth -= 1,
            _ => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().unwrap().extend(word);
    let called = commands.into_iter().filter_map(|words| {
        let words: Vec<_> = words.into_iter().skip_while(|word| word.contains('=')).collect();
        // What the shell puts there is some number or name.
        let said =
            |word: &String| if word.starts_with('$') { "1".to_owned() } else { word.clone() };
        (words.first()? == "nsharness").then(|| words[1..].iter().map(said).collect())
    });
    called.collect()
}

#[test]
fn arguments_are_those_that_a_shell_gives() {
    for (line, called) in [
        ("nsharness run 'a b' --x \"c d\" # why", vec![vec!["run", "a b", "--x", "c d"]]),
        ("A=1 nsharness run > file && nsharness list | head", vec![vec!["run"]]),
        (
            "echo 'x; nsharness no' | nsharness shell a && nsharness list",
            vec![vec!["shell", "a"], vec!["list"]],
        ),
        ("cargo run --release -- run x", vec![vec!["run", "x"]]),
        ("nsharness search --seed $(date +%Y %m) -x", vec![vec!["search", "--seed", "1", "-x"]]),
    ] {
        assert_eq!(arguments(line), called, "{line}");
    }
}

#[track_caller]
fn commands_give_what_is_shown(document: &str) {
    let page = page(document);
    let blocks = blocks(&page);
    let place = checkout();
    let mut wrong = Vec::new();
    for block in &blocks {
        for (line, command, _) in block.commands() {
            for arguments in arguments(command) {
                // These are told as errors are.
                if arguments.iter().any(|word| ["--help", "--version", "help"].contains(&&**word)) {
                    continue;
                }
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                if let Err(why) = nsharness::cli::understand(&arguments) {
                    wrong.push(format!("{document}:{line}: {command}: {why}"));
                }
            }
        }
        if let Some(name) = block.note("file") {
            place.write(name, &(block.lines.join("\n") + "\n"));
        }
        if block.language != "console" || block.note("not run").is_some() {
            continue;
        }
        let needs = block.note("needs").unwrap_or_default().split(',').map(str::trim);
        if !needs.filter(|what| !what.is_empty()).all(is_here) {
            continue;
        }
        for (_, command) in block.notes.iter().filter(|(name, _)| name == "before") {
            let done = run(&place, ".", command);
            assert!(done.code == Some(0), "{document}:{}: {command}\n{}", block.line, done.stdout);
        }
        let inside = block.note("in").unwrap_or(".");
        let (commands, gives) = (block.commands(), block.gives());
        for (number, (line, command, shown)) in commands.iter().enumerate() {
            let began = std::time::Instant::now();
            let done = run(&place, inside, &block.for_short(command));
            eprintln!("{:6.1} s  {document}:{line}: {command}", began.elapsed().as_secs_f32());
            let said: Vec<_> = done.stdout.lines().map(str::trim_end).collect();
            let is_so = shown.is_empty() || matches(shown, &said);
            if !is_so || done.code != Some(gives[number]) {
                let code = done.code;
                wrong.push(format!("{document}:{line}: {command}\n{}\n({code:?})", done.stdout));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Whether lines are as shown, where `...` stands for any.
fn matches(shown: &[&str], said: &[&str]) -> bool {
    // Of the last `...`: what is shown behind it, and how much was said when it was met.
    let (mut at, mut of, mut behind) = (0, 0, None);
    while of < said.len() {
        match shown.get(at) {
            Some(line) if line.trim() == "..." => {
                at += 1;
                behind = Some((at, of));
            }
            Some(line) if matches_line(line.trim_end(), said[of]) => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((first, met)) = behind else { return false };
                behind = Some((first, met + 1));
                (at, of) = (first, met + 1);
            }
        }
    }
    shown[at..].iter().all(|line| line.trim() == "...")
}

fn matches_line(shown: &str, said: &str) -> bool {
    // As wide as what stands for something else: columns are no matter where something is left open.
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !shown.contains("...") {
        return shown == said;
    }
    // So `a ... b` is `a b` too.
    let (shown, said) = (squeeze(shown).replace(" ... ", " ..."), squeeze(said));
    let mut parts = shown.split("...");
    let Some(mut rest) = said.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn lines_match_as_the_head_of_this_file_says() {
    for (shown, said, is_so) in [
        ("a\n...\nc", "a\nb\nb\nc", true),
        ("a\n...\nc", "a\nc", true),
        ("a\n...\nc", "a\nb", false),
        ("...\nb\n...", "a\nb\na\nb", true),
        ("...\nb", "b\na", false),
        ("a\nb", "a\nb\nc", false),
        ("a\nb", "a", false),
        ("Linux ... (host) as ...: 1 scenario", "Linux 6.1 x (host) as root: 1 scenario", true),
        ("Linux ... (host)", "Linux 6.1 (uml)", false),
        ("a ... 1", "a   2   1", true),
        ("a ... 1", "a 1", true),
        ("a ... 1", "b 1", false),
        ("a  b", "a b", false),
        ("", "said", false),
    ] {
        let (shown, said): (Vec<_>, Vec<_>) = (shown.lines().collect(), said.lines().collect());
        assert_eq!(matches(&shown, &said), is_so, "{shown:?} {said:?}");
    }
}

#[test]
fn every_document_is_run() {
    let mut files = vec!["README.md".to_owned()];
    for directory in ["docs", "docs/ci"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                files.push(format!("{directory}/{name}"));
            }
        }
    }
    let files: BTreeSet<_> = files.iter().map(String::as_str).collect();
    assert_eq!(files, DOCUMENTS.iter().copied().collect());
}

/// What is not run has a reason, is rare, and no block has a note that is not known.
#[test]
fn few_commands_are_not_run() {
    let (mut all, mut not_run) = (0, 0);
    for document in DOCUMENTS {
        for block in blocks(&page(document)) {
            for (name, text) in &block.notes {
                let is_known = NOTES.contains(&name.as_str());
                assert!(is_known && !text.is_empty(), "{document}:{}: {name}", block.line);
            }
            assert_eq!(block.shortens_nothing(), None, "{document}:{}", block.line);
            let commands = block.commands().len();
            assert_eq!(block.gives().len(), commands, "{document}:{}: gives", block.line);
            if block.language == "console" {
                assert_ne!(commands, 0, "{document}:{}: no command", block.line);
                all += commands;
                not_run += if block.note("not run").is_some() { commands } else { 0 };
            }
        }
    }
    assert!(all > 60 && not_run * 10 < all, "{not_run} of {all} commands are not run");
}

#[test]
fn every_scenario_that_is_shown_is_one() {
    let probes = probe::names();
    for document in DOCUMENTS.iter().copied().chain(["CONTRIBUTING.md", "DESIGN.md"]) {
        for block in blocks(&page(document)).into_iter().filter(|block| block.language == "yaml") {
            if block.note("a part").is_some() {
                continue;
            }
            let text = block.lines.join("\n") + "\n";
            let name = format!("{document}:{}", block.line);
            if !block.lines.iter().any(|line| line.starts_with("title:")) {
                serde_saphyr::from_str::<serde_json::Value>(&text)
                    .unwrap_or_else(|why| panic!("{name}: {why}"));
                continue;
            }
            let source = Arc::new(Source { name: name.clone(), text });
            let file = FoundFile { id: "shown".into(), path: name.clone().into(), base: "".into() };
            if let Err(errors) = resolve(&file, &source, KnownNames { probes: &probes }) {
                panic!("{}", errors.iter().map(|e| e.render(false)).collect::<String>());
            }
        }
    }
}

/// The text of a page without its blocks and what stands between backticks.
fn prose(page: &str) -> String {
    let mut text = String::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            text.extend(line.split('`').step_by(2));
            text.push('\n');
        }
    }
    text
}

/// The anchors of a page, by GitHub's rule for headings and by `<a id="...">`.
fn anchors(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut in_block = false;
    for line in page.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if in_block {
            continue;
        }
        let own = line.split("<a id=\"").nth(1).and_then(|rest| rest.split('"').next());
        if let Some(own) = own {
            anchors.push(own.to_owned());
        } else if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            anchors.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in DOCUMENTS.iter().copied().chain(["CONTRIBUTING.md", "DESIGN.md"]) {
        let text = page(document);
        for link in prose(&text).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here: PathBuf = Path::new(document).to_owned();
            let target = match path {
                "" => here,
                _ => here.parent().unwrap().join(path),
            };
            let file = root().join(&target);
            let is_there = file.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&file)
                        .is_ok_and(|page| anchors(&page).iter().any(|named| named == anchor)));
            if !is_there {
                wrong.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Who links a rule finds it: the page has each once, and says what the registry says.
#[test]
fn the_page_of_the_rules_is_current() {
    use nsharness::coverage::Coverage;
    use nsharness::model::profile::{NEWEST, Profile};
    use nsharness::scenario::condition::KernelVersion;

    let probes = probe::names();
    let (files, errors) = nsharness::scenario::discover(&[root().join("scenarios")]);
    assert!(errors.is_empty());
    let cases = files.iter().flat_map(|file| {
        let source = nsharness::scenario::read(&file.path).expect("a file");
        resolve(file, &source, KnownNames { probes: &probes }).expect("a valid scenario")
    });
    let cases: Vec<_> = cases.collect();
    let newest = Profile::of_version(KernelVersion(NEWEST.0, NEWEST.1, 0));
    let coverage = Coverage::of_every_kernel(&cases, &newest).unwrap();
    let made = nsharness::report::rules::page(&coverage);
    let file = root().join("docs/rules.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == made,
        "docs/rules.md is out of date: nsharness rules --markdown > docs/rules.md"
    );
    let anchors = anchors(&made);
    let unique: BTreeSet<_> = anchors.iter().collect();
    assert_eq!(unique.len(), anchors.len());
    for rule in nsharness::model::rules::all() {
        assert!(anchors.iter().any(|anchor| anchor == rule.id), "{}", rule.id);
    }
}
