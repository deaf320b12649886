//! The values that a reproduction compares.

use compact_str::format_compact;

use super::super::words::shown;
use crate::scenario::operation::Operation;
use crate::scenario::scalar::Capability;
use crate::transcript::{Value, Values};

/// The values that statements say of an operation: what else the model knows is not compared.
pub fn told(operation: &Operation, values: &Values) -> Values {
    let names: &[&str] = match operation {
        Operation::Read(_) => &["data", "length"],
        Operation::Write(_) => &["length"],
        Operation::Readlink(_) => &["target"],
        Operation::Stat(_) => &[
            "atime",
            "blocks",
            "gid",
            "mode",
            "mount_root",
            "mtime",
            "nlink",
            "rdev",
            "size",
            "type",
            "uid",
        ],
        Operation::List(_) | Operation::Listxattr(_) => &["names", "count"],
        Operation::Getxattr(_) => &["value"],
        Operation::Statfs(_) => &["type"],
        Operation::Mounted(_) => &["mounted"],
        Operation::Getcwd(_) => &["path"],
        Operation::Gethostname(_) => &["name"],
        Operation::ReadMaps(_) => &["gid_map", "setgroups", "uid_map"],
        Operation::Getcred(_) => {
            &["effective", "egid", "euid", "gid", "inheritable", "permitted", "sgid", "suid", "uid"]
        }
        _ => &[],
    };
    let is_told = |name: &str, value: &Value| names.contains(&name) && shown(value).is_some();
    let told = values.iter().filter(|(name, value)| is_told(name, value));
    let mut told: Values = told.map(|(name, value)| (name.clone(), value.clone())).collect();
    for name in ["effective", "inheritable", "permitted"] {
        if let Some(Value::List(set)) = told.get(name) {
            let set = Value::Text(format_compact!("{:016x}", bits(set)));
            told.insert(name.into(), set);
        }
    }
    // How many there are is said with the names, and never without them.
    told.remove("count");
    if let Some(Value::List(names)) = told.get("names") {
        let count = Value::Number(names.len() as i64);
        told.insert("count".into(), count);
    }
    told
}

/// A set of capabilities that is told by their names.
fn bits(names: &[Value]) -> u64 {
    let bit = |name: &Value| match name {
        Value::Text(name) => name.parse::<Capability>().map_or(0, |capability| capability.bit()),
        _ => 0,
    };
    names.iter().fold(0, |all, name| all | bit(name))
}
