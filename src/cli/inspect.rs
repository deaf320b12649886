//! `nsharness inspect`

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Trouble, print};
use crate::exit_code::ExitCode;
use crate::inspect::marks::Reading;
use crate::inspect::merge::{Found, Merge};
use crate::inspect::options::{self, Options};
use crate::inspect::read::{self, Opened};
use crate::inspect::remarks::{self, Counts, Remark, Topic};
use crate::inspect::work::Work;
use crate::inspect::{Layer, Role, Stack};
use crate::report::inspect::{Header, Summary, name_json, name_text, remark_json, remarks_text};

const EXAMPLES: &str = "\
Examples:
  nsharness inspect container/diff image/diff base/diff     as docker stores them
  nsharness inspect --mount /var/lib/docker/overlay2/ID/merged
  nsharness inspect -o lowerdir=/l1:/l2,upperdir=/u,userxattr
  nsharness inspect --work=container/work container/diff    the work directory too
  nsharness inspect --oci layer2 layer1                     unpacked archives of an image

A line is the type, the layers, the path, and what is hidden: `f 1` a file of layer 1, `d 1+3` a directory merged
of 1 and 3, `f 1>3` attributes of 1 and data of 3, `- 1` taken away by layer 1, `!` a lookup fails.
Exit status 1: a problem was found; 5: something could not be read, so the view is not known.
";

/// How much is told at once.
const CHUNK: usize = 1 << 16;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Directories of layers, topmost first; nothing is changed in them and nothing followed out of them
    #[arg(value_name = "LAYER", required_unless_present_any = ["options", "mount"])]
    layers: Vec<PathBuf>,
    /// Mount options, as in /proc/self/mounts: lowerdir=A:B,upperdir=C or lowerdir+=, datadir+= in the place of
    /// LAYERs; userxattr, redirect_dir=, metacopy= say how marks are read
    #[arg(short, long, value_name = "OPTIONS")]
    options: Option<OsString>,
    /// The layers of the overlay that is mounted there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["layers", "options", "oci"])]
    mount: Option<PathBuf>,
    /// Reads whiteouts as an unpacked layer of an OCI image has them: .wh.NAME and .wh..wh..opq
    #[arg(long, conflicts_with = "options")]
    oci: bool,
    /// Counts as problems what is lost when the layers are packed or copied
    #[arg(long)]
    export: bool,
    /// Looks into the work directory too, for what mounts have left there: this one, or that of the mount options
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    work: Option<Option<PathBuf>>,
    /// Leaves out the names: prints problems and notes alone
    #[arg(long)]
    remarks: bool,
    /// Prints JSON lines (docs/inspect.md)
    #[arg(long)]
    json: bool,
    /// Most files in all layers together, and most names in the view
    #[arg(long, value_name = "COUNT", default_value_t = 5_000_000)]
    limit: usize,
}

pub fn execute(arguments: &Arguments) -> Result<ExitCode, Trouble> {
    let sees_trusted = read::sees_trusted();
    let given = arguments.given()?;
    let work = arguments.work(&given)?;
    let layers = read_layers(&given.layers, arguments.limit)?;
    let counts = Counts::of(&layers);
    let (reading, chosen) = match () {
        () if arguments.oci => (Reading::Oci, "as --oci says"),
        () if given.userxattr => (Reading::User, "as the mount options say"),
        () if arguments.are_options_whole() => (Reading::Trusted, "as the mount options say"),
        () if counts == Counts::default() => {
            (counts.reading(sees_trusted), "for no mark says otherwise")
        }
        () => (counts.reading(sees_trusted), "by the marks that are there"),
    };
    let all = !arguments.are_options_whole();
    let stack = Stack {
        layers,
        reading,
        redirects: reading != Reading::User && given.redirects.unwrap_or(true),
        metacopy: reading != Reading::User && given.metacopy.unwrap_or(all),
    };
    let header = Header { stack: &stack, work: work.as_ref(), counts, chosen, sees_trusted };
    let mut remarks = Vec::new();
    // Unless the user says that trusted.* does not count.
    if !sees_trusted && !arguments.oci && !given.userxattr {
        remarks.push(unseen_trusted());
    }
    remarks.extend(work.iter().flat_map(Work::remarks));
    remarks.extend(remarks::of_layers(&stack));
    arguments.tell(&header, remarks)
}

/// What is unknown where attributes of trusted.* are not shown.
fn unseen_trusted() -> Remark {
    Remark {
        topic: Topic::Unread,
        layer: None,
        path: Vec::new(),
        text: "opaque directories, redirects and files without data may be marked in trusted.overlay.*, which cannot \
               be seen here: run it as root of the machine, or say `-o userxattr` or `--oci` if they are mounted or packed so"
            .into(),
    }
}

impl Arguments {
    /// Whether the mount options name the layers, so that they say all of how the overlay is mounted.
    fn are_options_whole(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers and how they are to be read.
    fn given(&self) -> Result<Options, Trouble> {
        let text = match &self.mount {
            Some(at) => mounted(at)?,
            None => self.options.as_ref().map(|text| text.as_bytes().to_vec()).unwrap_or_default(),
        };
        let mut options = Options::parse(&text).map_err(Trouble::Usage)?;
        match (options.layers.is_empty(), self.layers.is_empty()) {
            (true, true) => Err(Trouble::Usage(
                "no layers: name directories, topmost first, or lowerdir= in the mount options".into(),
            )),
            (false, false) => Err(Trouble::Usage(
                "layers are named twice: as directories, or as lowerdir= and upperdir= in the mount options".into(),
            )),
            (false, true) => Ok(options),
            (true, false) => {
                options.layers = self.layers.iter().map(|path| (Role::Lower, path.clone())).collect();
                Ok(options)
            }
        }
    }

    /// The work directory, where it is asked for.
    fn work(&self, given: &Options) -> Result<Option<Work>, Trouble> {
        let path = match (&self.work, &given.work) {
            (None, _) => return Ok(None),
            (Some(Some(path)), _) | (Some(None), Some(path)) => path,
            (Some(None), None) => {
                return Err(Trouble::Usage(
                    "no work directory: name it, as --work=DIR, or by workdir= in the mount options".into(),
                ));
            }
        };
        let what = format!("work directory {} cannot be read", path.display());
        Work::read(path).map(Some).map_err(Trouble::environment(what))
    }

    /// Prints what there is, and says what came of it.
    fn tell(&self, header: &Header<'_>, mut remarks: Vec<Remark>) -> Result<ExitCode, Trouble> {
        let stack = header.stack;
        let mut out = match self.json {
            true => format!("{}\n", header.json()),
            false => header.text(),
        };
        let mut summary = Summary::default();
        for name in Merge::new(stack) {
            match name.found {
                Found::There(_) => summary.shown += 1,
                Found::Gone { .. } | Found::Refused(_) => summary.gone += 1,
            }
            if summary.shown + summary.gone > self.limit {
                let what = format!("the view has more than {} names", self.limit);
                return Err(too_many(&what));
            }
            remarks.extend(remarks::of_name(stack, &name));
            match (self.remarks, self.json) {
                (true, _) => {}
                (false, true) => out.push_str(&format!("{}\n", name_json(stack, &name))),
                (false, false) => out.push_str(&name_text(stack, &name)),
            }
            if out.len() > CHUNK {
                print(&out)?;
                out.clear();
            }
        }
        remarks.extend(remarks::seen_twice(stack));
        for remark in &remarks {
            summary.count(remark.topic.weight(self.export));
            if self.json {
                out.push_str(&format!("{}\n", remark_json(remark, self.export)));
            }
        }
        match self.json {
            true => out.push_str(&format!("{}\n", summary.json())),
            false => {
                out.push_str(&remarks_text(&remarks, self.export));
                out.push_str(&summary.text());
            }
        }
        print(&out)?;
        Ok(match summary {
            Summary { problems: 1.., .. } => ExitCode::Failure,
            Summary { unknown: 1.., .. } => ExitCode::Broken,
            _ => ExitCode::AsExpected,
        })
    }
}

fn too_many(what: &str) -> Trouble {
    let error = io::Error::other("name fewer layers, or give a higher --limit");
    Trouble::Environment(what.to_owned(), error)
}

fn read_layers(given: &[(Role, PathBuf)], limit: usize) -> Result<Vec<Layer>, Trouble> {
    let mut opened: Vec<Opened> = Vec::new();
    for (_, path) in given {
        let layer = Opened::open(path).map_err(|error| {
            let what = format!("layer {} cannot be read (expected a directory)", path.display());
            Trouble::Environment(what, error)
        })?;
        if let Some(same) = opened.iter().position(|other| other.is_same(&layer)) {
            let (one, other) = (given[same].1.display(), path.display());
            return Err(Trouble::Usage(format!(
                "{one} and {other} are the same directory: no directory is a layer twice (mount(2) says ELOOP)"
            )));
        }
        opened.push(layer);
    }
    let trees = read::read(&opened, limit).map_err(|error| match error {
        read::ReadError::TooMany(_) => too_many(&error.to_string()),
        read::ReadError::Io(error) => {
            Trouble::Environment("the layers cannot be read".into(), error)
        }
    })?;
    let layers = given.iter().zip(trees).map(|((role, path), tree)| Layer {
        path: path.clone(),
        role: *role,
        tree,
    });
    Ok(layers.collect())
}

/// The mount options of the overlay that is mounted at a directory.
fn mounted(at: &Path) -> Result<Vec<u8>, Trouble> {
    let what = || format!("{} cannot be looked up", at.display());
    let place = fs::canonicalize(at).map_err(|error| Trouble::Environment(what(), error))?;
    let table = fs::read("/proc/self/mountinfo")
        .map_err(Trouble::environment("/proc/self/mountinfo cannot be read"))?;
    options::mounted_at(&table, place.as_os_str().as_bytes()).map(<[u8]>::to_vec).ok_or_else(|| {
        let why = "no overlay is mounted there: name the mount point itself, as /proc/self/mountinfo has it";
        Trouble::Usage(format!("{}: {why}", at.display()))
    })
}
