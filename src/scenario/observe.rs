//! What is recorded after the steps.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::scalar::{Name, StepPath, WorldPath};

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observe {
    /// A directory and everything below it on the same mount and the mounts below, as it is seen.
    Tree(ObserveTree),
    /// The same for a layer of an overlay as it lies on disk: with attributes of the overlay,
    /// without what the kernel may or may not have written (`impure`), and with `origin` as
    /// present or not, because its value is a file handle.
    Layer(ObserveTree),
    /// The mount table: mount points, roots, types, options and propagation.
    Mountinfo(ObserveMountinfo),
    /// uid_map, gid_map and setgroups of an actor's user namespace.
    IdMaps(ObserveActors),
    /// Ids, groups and capability sets of an actor.
    Credentials(ObserveActors),
    /// The identities of an actor's namespaces.
    Namespaces(ObserveActors),
    /// An actor's root and working directory.
    Process(ObserveActors),
}

impl Observe {
    /// How many observations it comes to: one an actor.
    pub fn count(&self) -> usize {
        match self {
            Self::Tree(_) | Self::Layer(_) => 1,
            Self::Mountinfo(of) => of.actors.names().len(),
            Self::IdMaps(of) | Self::Credentials(of) | Self::Namespaces(of) | Self::Process(of) => {
                of.actors.names().len()
            }
        }
    }
}

/// Which tree, and what of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserveTree {
    /// The top of the tree.
    pub at: WorldPath,
    /// The actor that looks; without it the sandbox itself does, from its own root and with all rights.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Name>,
    /// What is recorded of each entry; all but `time`, `dev` and `ino` if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<TreeField>,
}

/// What is recorded of an entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TreeField {
    /// What it is.
    Type,
    /// Permission bits.
    Mode,
    /// `uid:gid`.
    Owner,
    /// Length of a regular file.
    Size,
    /// The content of a regular file, or its digest where it is long or not text.
    Content,
    /// The target of a symbolic link.
    Target,
    /// Device number of a char or block node.
    Rdev,
    /// Which names are the same file: shown for files with more than one link.
    Links,
    /// Extended attributes.
    Xattrs,
    /// Modification time; values that were not set by the scenario are renumbered.
    Time,
    /// The device, renumbered.
    Dev,
    /// The inode, renumbered.
    Ino,
}

impl TreeField {
    /// What is recorded if nothing else is asked for.
    pub const DEFAULT: &[Self] = &[
        Self::Type,
        Self::Mode,
        Self::Owner,
        Self::Size,
        Self::Content,
        Self::Target,
        Self::Rdev,
        Self::Links,
        Self::Xattrs,
    ];
}

/// Whose mount table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserveMountinfo {
    /// The actors whose tables are read; `main` if left out.
    #[serde(rename = "as", default = "Actors::main")]
    pub actors: Actors,
    /// Records only the mounts at and below this path, as the actor sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<StepPath>,
}

/// Which actors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObserveActors {
    /// The actors; `main` if left out.
    #[serde(rename = "as", default = "Actors::main")]
    pub actors: Actors,
}

/// One actor or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "Vec<Name>")]
pub enum Actors {
    /// One.
    One(Name),
    /// Several.
    Several(Vec<Name>),
}

impl Actors {
    fn main() -> Self {
        Self::One("main".parse().expect("a name"))
    }

    /// The actors as a list.
    pub fn names(&self) -> &[Name] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl From<Actors> for Vec<Name> {
    fn from(actors: Actors) -> Self {
        match actors {
            Actors::One(name) => vec![name],
            Actors::Several(names) => names,
        }
    }
}

impl JsonSchema for Actors {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Actors".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let name = generator.subschema_for::<Name>();
        json_schema!({
            "description": "The name of an actor, or a list of names",
            "anyOf": [name, { "type": "array", "items": name }]
        })
    }
}

impl<'de> Deserialize<'de> for Actors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Actors;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of an actor, or a list of names")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Actors, E> {
                text.parse().map(Actors::One).map_err(E::custom)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Actors, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Actors::Several(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
