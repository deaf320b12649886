//! `nsharness bundle`

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::select::Selection;
use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::links;
use crate::named::Named;
use crate::programs::{self, Program};
use crate::runtime::by_hand::{SCRIPT, config, script};
use crate::runtime::{self, bundle};
use crate::scenario::container::BUNDLE;
use crate::scenario::world::{Entry, EntryKind, Setup, World};
use crate::worker::plant_by_hand;

const EXAMPLES: &str = "\
Examples:
  nsharness bundle oci/volume-read-only there           config.json, world, ./there/run
  nsharness bundle oci/volume-read-only there --runtime crun --program bash
";

/// Writes the bundle of a scenario with a container, for a runtime that is called by hand: config.json, the root file
/// system with a shell in it, the rest of the world, and a script that makes the mounts and calls the runtime. Nothing is
/// run. Where the scenario has devices, set-user-ID or set-group-ID programs or file capabilities, nobody else may enter the
/// directory.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The id of a scenario, with @CASE where it has several, or its file
    #[arg(value_name = "ID|PATH")]
    scenario: PathBuf,
    /// Where it is written; a directory that is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Which runtime the script calls
    #[arg(long, value_name = "RUNTIME", default_value = "runc")]
    runtime: Named,
    /// The program that the container runs, unless the scenario says which
    #[arg(long, value_name = "PROGRAM", default_value = "sh")]
    program: String,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let Arguments { scenario, directory, runtime, program } = arguments;
    let case = Selection::one(scenario)?;
    let world = &case.plan.world;
    if world.container.is_none() {
        return Err(Trouble::Usage(format!("{} has no container", case.id)));
    }
    let runtime = runtime::find(runtime)?;
    let program = programs::find(program)?;
    let cannot = |why| Trouble::Usage(format!("{} cannot be done by hand: {why}", case.id));
    let script = script(&case.id, world, &runtime).map_err(cannot)?;
    let at = Trouble::environment(directory.display().to_string());
    let directory = links::check_directory(directory)
        .and_then(|()| std::path::absolute(directory))
        .and_then(|path| write(&path, world, &program, &script).map(|()| path));
    let directory = directory.map_err(at)?;
    print(&format!(
        "{} is in {}, with {}/config.json\nas {runtime} makes it: {}\n",
        case.id,
        directory.display(),
        directory.join(BUNDLE).display(),
        directory.join(SCRIPT).display(),
    ))?;
    Ok(ExitCode::AsExpected)
}

/// Writes everything below a directory that is made; what was written is removed where not all of it could be.
///
/// Nobody else may enter it where the scenario has what gives rights to whoever reaches it: outside a sandbox a device is
/// the machine's, and a set-user-ID program is of whoever wrote the bundle.
fn write(directory: &Path, world: &World, program: &Program, script: &str) -> io::Result<()> {
    let mode = if is_private(world) { 0o700 } else { 0o777 };
    DirBuilder::new().mode(mode).create(directory)?;
    let written = fill(directory, world, program, script);
    if written.is_err() {
        fs::remove_dir_all(directory)?;
    }
    written
}

fn fill(directory: &Path, world: &World, program: &Program, script: &str) -> io::Result<()> {
    let rootfs = directory.join(BUNDLE).join("rootfs");
    for name in ["proc", "dev"] {
        fs::create_dir_all(rootfs.join(name))?;
    }
    fs::copy("/proc/self/exe", rootfs.join(bundle::PROGRAM))?;
    let name = program.path.file_name().unwrap_or_default();
    fs::copy(&program.path, rootfs.join(name))?;
    for (at, file) in &program.libraries {
        let at = rootfs.join(at.strip_prefix("/").unwrap_or(at));
        fs::create_dir_all(at.parent().unwrap_or(&rootfs))?;
        fs::copy(file, at)?;
    }
    let args = Path::new("/").join(name).display().to_string();
    let status = fs::read_to_string("/proc/self/status")?;
    // Who is not root becomes it in a user namespace, with all of them.
    let is_root = rustix::process::geteuid().is_root();
    let bounding = bundle::bounding_set(&status).filter(|_| is_root).unwrap_or(u64::MAX);
    let config = config(world, directory, &args, bounding).unwrap_or_default();
    fs::write(directory.join(BUNDLE).join("config.json"), format!("{config:#}\n"))?;
    let file = directory.join(SCRIPT);
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    plant_by_hand(world, directory).map_err(|breakage| io::Error::other(breakage.to_string()))
}

/// Whether an entry of the world gives rights to whoever reaches it.
fn is_private(world: &World) -> bool {
    let gives_rights = |entry: &Entry| {
        matches!(entry.kind, EntryKind::Char(_) | EntryKind::Block(_))
            || entry.mode.is_some_and(|mode| mode.0 & 0o6000 != 0)
            || entry.xattrs.contains_key("security.capability")
    };
    world.setup.iter().any(|setup| match setup {
        Setup::Tree(tree) => tree.values().any(gives_rights),
        Setup::Mount { .. } => false,
    })
}
