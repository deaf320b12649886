//! What `inspect` found, as lines for a person or as JSON lines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inspect::marks::Reading;
use crate::inspect::merge::{Found, Hidden, Name, There};
use crate::inspect::remarks::{Counts, Remark, Topic, Weight};
use crate::inspect::work::Work;
use crate::inspect::{Stack, shown};

/// The version of the JSON format.
pub const VERSION: u32 = 1;

/// Most texts of one topic that are told, and most places of one text.
const TOLD: usize = 10;

/// How the marks of layers are read, and why so.
#[derive(Debug)]
pub struct Header<'h> {
    /// The layers.
    pub stack: &'h Stack,
    /// The work directory, where it was looked into.
    pub work: Option<&'h Work>,
    /// What marks they have.
    pub counts: Counts,
    /// Who said that they are to be read so: the user, or the marks that are there.
    pub chosen: &'static str,
    /// Whether this process sees trusted.*
    pub sees_trusted: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Names that are seen.
    pub shown: usize,
    /// Names that layers have and that are not seen.
    pub gone: usize,
    /// Remarks of each weight.
    pub problems: usize,
    /// What is not known.
    pub unknown: usize,
    /// What is good to know.
    pub notes: usize,
}

impl Header<'_> {
    fn reading(&self) -> &'static str {
        match self.stack.reading {
            Reading::Trusted => "trusted.overlay",
            Reading::User => "user.overlay",
            Reading::Oci => "oci",
        }
    }

    /// As lines of text.
    pub fn text(&self) -> String {
        let mut text = String::from("layers, topmost first:\n");
        for (index, layer) in self.stack.layers.iter().enumerate() {
            let path = shown(layer.path.as_os_str().as_encoded_bytes());
            text.push_str(&format!("  {} {} {path}\n", index + 1, layer.role.word()));
        }
        if let Some(work) = self.work {
            let path = shown(work.path.as_os_str().as_encoded_bytes());
            let Work { temporary, index, .. } = work;
            let temporary = temporary.len();
            text.push_str(&format!(
                "work directory {path}: {temporary} temporary, {index} in the index\n"
            ));
        }
        let Counts { trusted, user, oci, devices } = self.counts;
        let how = match self.stack.reading {
            Reading::Trusted => "an overlay with its marks in trusted.overlay.*",
            Reading::User => "an overlay with its marks in user.overlay.* (userxattr)",
            Reading::Oci => "unpacked layers of an OCI image, with .wh. files",
        };
        text.push_str(&format!("read as {how}, {}\n", self.chosen));
        if self.stack.reading != Reading::Oci {
            let not = |yes| if yes { "" } else { "not " };
            let (redirects, metacopy) = (not(self.stack.redirects), not(self.stack.metacopy));
            text.push_str(&format!(
                "redirects are {redirects}followed, data of files without data are {metacopy}looked for below\n"
            ));
        }
        let trusted = match (self.sees_trusted, trusted) {
            (true, count) => format!("{count} trusted.overlay.*"),
            (false, _) => "unknown trusted.overlay.*".into(),
        };
        text.push_str(&format!(
            "marks: {trusted}, {user} user.overlay.*, {devices} devices 0:0, {oci} .wh. files\n"
        ));
        if !self.sees_trusted {
            text.push_str(
                "trusted.* cannot be seen here: that takes CAP_SYS_ADMIN in the first user namespace, so be root of \
                 the machine\n",
            );
        }
        text
    }

    /// As one line of JSON.
    pub fn json(&self) -> Value {
        let layers = self.stack.layers.iter().map(|layer| {
            let path = shown(layer.path.as_os_str().as_encoded_bytes());
            json!({ "path": path, "role": layer.role.word() })
        });
        let work = self.work.map(|work| {
            json!({
                "path": shown(work.path.as_os_str().as_encoded_bytes()),
                "used": work.used,
                "temporary": work.temporary,
                "index": work.index,
                "index_without_name": work.nameless,
                "incompatible": work.incompatible,
            })
        });
        let Counts { trusted, user, oci, devices } = self.counts;
        json!({
            "event": "layers",
            "version": VERSION,
            "nsharness": env!("CARGO_PKG_VERSION"),
            "layers": layers.collect::<Vec<_>>(),
            "work": work,
            "read_as": self.reading(),
            "chosen": self.chosen,
            "redirects": self.stack.redirects,
            "metacopy": self.stack.metacopy,
            "trusted_is_seen": self.sees_trusted,
            "marks": {
                "trusted": self.sees_trusted.then_some(trusted),
                "user": user, "devices": devices, "oci": oci,
            },
        })
    }
}

/// A name as a line of text.
pub fn name_text(stack: &Stack, name: &Name) -> String {
    let (kind, layers, mut said) = match &name.found {
        Found::There(there) => {
            let kind = stack.file(there.spots[0]).kind;
            (kind.letter(), layers(there), about(stack, name, there))
        }
        Found::Gone { by, form } => {
            let said = match name.listed {
                Some(true) => format!("listed and not found: {}", form.words()),
                _ => form.words().into(),
            };
            ('-', (by.0 + 1).to_string(), vec![said])
        }
        Found::Refused(refusal) => {
            let said = format!("a lookup says {}", refusal.why.errno());
            ('!', (refusal.at.0 + 1).to_string(), vec![said])
        }
    };
    said.extend(name.hidden.iter().map(|hidden| hides(stack, name, hidden)));
    let line = format!("{kind} {layers:<7} {:<32} {}", shown(&name.path), said.join("; "));
    format!("{}\n", line.trim_end())
}

/// The layers of a file: those that are merged, or who is seen and who has the data.
fn layers(there: &There) -> String {
    let separator = if there.metacopy { ">" } else { "+" };
    let layers = there.spots.iter().map(|(layer, _)| (layer + 1).to_string());
    layers.collect::<Vec<_>>().join(separator)
}

/// What is to be said of a file beside its type and layers.
fn about(stack: &Stack, name: &Name, there: &There) -> Vec<String> {
    let mut said = Vec::new();
    if there.opaque.is_some() {
        said.push("opaque".into());
    }
    if let Some((_, path)) = &there.redirect
        && there.spots.len() > 1
    {
        let below = there.spots[there.spots.len() - 1];
        let moved = stack.layers[below.0].tree.path(below.1);
        if moved != name.path {
            said.push(format!("below it is {} (redirect {})", shown(&moved), shown(path)));
        }
    }
    if there.metacopy {
        said.push(match there.data_missing {
            true => "without its data".into(),
            false => "attributes of the first, data of the last".into(),
        });
    }
    said
}

fn hides(stack: &Stack, name: &Name, hidden: &Hidden) -> String {
    let file = stack.file(hidden.spot);
    let below = match file.below {
        0 => String::new(),
        count => format!(" with {count} in it"),
    };
    let by = match &name.found {
        Found::There(there) if there.spots.len() > 1 => format!(" (by {})", hidden.by.0 + 1),
        _ => String::new(),
    };
    format!("hides {} of {}{below}{by}", file.kind.word(), hidden.spot.0 + 1)
}

/// A name as one line of JSON.
pub fn name_json(stack: &Stack, name: &Name) -> Value {
    let path = |(layer, id): (usize, u32)| shown(&stack.layers[layer].tree.path(id));
    let spot = |at: (usize, u32)| json!({ "layer": at.0 + 1, "path": path(at) });
    let hidden = name.hidden.iter().map(|hidden| {
        let file = stack.file(hidden.spot);
        json!({
            "layer": hidden.spot.0 + 1,
            "type": file.kind.word(),
            "below": file.below,
            "by": hidden.by.0 + 1,
        })
    });
    let mut object = json!({ "event": "name", "path": shown(&name.path), "listed": name.listed });
    let more = match &name.found {
        Found::There(there) => json!({
            "state": "there",
            "type": stack.file(there.spots[0]).kind.word(),
            "from": there.spots.iter().map(|at| spot(*at)).collect::<Vec<_>>(),
            "opaque": there.opaque.map(|by| by.0 + 1),
            "redirect": there.redirect.as_ref().map(|(by, to)| json!({ "layer": by.0 + 1, "to": shown(to) })),
            "metacopy": there.metacopy,
            "data_missing": there.data_missing,
        }),
        Found::Gone { by, form } => {
            json!({ "state": "gone", "whiteout": { "layer": by.0 + 1, "form": form.words() } })
        }
        Found::Refused(refusal) => json!({
            "state": "refused",
            "error": refusal.why.errno().to_string(),
            "layer": refusal.at.0 + 1,
        }),
    };
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
        object.insert("hides".into(), hidden.collect());
    }
    object
}

/// A remark as one line of JSON.
pub fn remark_json(remark: &Remark, export: bool) -> Value {
    json!({
        "event": "remark",
        "weight": remark.topic.weight(export).word(),
        "topic": remark.topic.word(),
        "layer": remark.layer.map(|layer| layer + 1),
        "path": shown(&remark.path),
        "text": remark.text,
    })
}

/// All remarks as text, the gravest first: each text once, with the places that it is about.
pub fn remarks_text(remarks: &[Remark], export: bool) -> String {
    let mut groups: BTreeMap<(Weight, Topic, &str), Vec<&Remark>> = BTreeMap::new();
    for remark in remarks {
        let key = (remark.topic.weight(export), remark.topic, remark.text.as_str());
        groups.entry(key).or_default().push(remark);
    }
    let mut text = String::new();
    let mut told: BTreeMap<Topic, usize> = BTreeMap::new();
    for ((weight, topic, said), of_group) in &groups {
        let told = told.entry(*topic).or_default();
        *told += 1;
        if *told > TOLD {
            continue;
        }
        text.push_str(&format!("{}: {}: {said}\n", weight.word(), topic.word()));
        let places =
            of_group.iter().filter_map(|remark| Some((remark.layer?, shown(&remark.path))));
        for (layer, path) in places.take(TOLD) {
            text.push_str(&format!("    {path} (layer {})\n", layer + 1));
        }
        if let more @ 1.. = of_group.len().saturating_sub(TOLD) {
            text.push_str(&format!("    and {more} more (--json has all)\n"));
        }
    }
    for (topic, count) in told.into_iter().filter(|(_, count)| *count > TOLD) {
        let weight = topic.weight(export).word();
        let more = count - TOLD;
        text.push_str(&format!(
            "{weight}: {}: and {more} more of these (--json has all)\n",
            topic.word()
        ));
    }
    text
}

impl Summary {
    /// Counts a remark.
    pub fn count(&mut self, weight: Weight) {
        match weight {
            Weight::Problem => self.problems += 1,
            Weight::Unknown => self.unknown += 1,
            Weight::Note => self.notes += 1,
        }
    }

    /// As a line of text.
    pub fn text(&self) -> String {
        let Self { shown, gone, problems, unknown, notes } = self;
        format!(
            "summary: {shown} names, {gone} not seen, {problems} problems, {unknown} unknown, {notes} notes\n"
        )
    }

    /// As one line of JSON.
    pub fn json(&self) -> Value {
        let Self { shown, gone, problems, unknown, notes } = self;
        json!({
            "event": "summary", "names": shown, "not_seen": gone,
            "problems": problems, "unknown": unknown, "notes": notes,
        })
    }
}
