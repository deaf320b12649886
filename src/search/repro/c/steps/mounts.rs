//! The mount table.

use super::super::words::{flags, mount_flag, open_tree_flag, propagation, umount_flag};
use super::{Context, literal, path, result};
use crate::scenario::operation::{self as op, FsCommand, MountApi, MountAttribute, MountOperation};
use crate::scenario::scalar::StepPath;

/// The statements of such an operation.
///
/// # Errors
/// Why there are none.
pub fn statements(
    operation: MountOperation<'_>,
    context: &Context<'_>,
) -> Result<Vec<String>, String> {
    use MountOperation as O;
    Ok(match operation {
        O::Mount(step) => {
            let source = literal(step.source.as_deref().unwrap_or(&step.kind));
            let how = flags(&step.flags, mount_flag, "");
            mount(&source, &step.at, &literal(&step.kind), &how, &joined(&step.options))
        }
        O::Overlay(step) => overlay(step),
        O::Bind(step) => mount(&path(&step.from), &step.at, "NULL", "MS_BIND", "NULL"),
        O::Rbind(step) => mount(&path(&step.from), &step.at, "NULL", "MS_BIND | MS_REC", "NULL"),
        O::Move(step) => mount(&path(&step.from), &step.at, "NULL", "MS_MOVE", "NULL"),
        O::Umount(step) => {
            let how = flags(&step.flags, umount_flag, "");
            result("umount2", format!("umount2({}, {how})", path(&step.at)))
        }
        O::Remount(step) => remount(step),
        O::Propagation(step) => {
            let recursive = if step.recursive { " | MS_REC" } else { "" };
            let how = format!("{}{recursive}", propagation(step.kind));
            mount("NULL", &step.at, "NULL", &how, "NULL")
        }
        O::Mounted(step) => mounted(step),
        O::Fsopen(step) => {
            let call =
                format!("result(\"fsopen\", syscall(SYS_fsopen, {}, 1))", literal(&step.kind));
            vec![format!("keep(&{}, {call});", context.fd(&step.fd))]
        }
        O::Fsconfig(step) => fsconfig(step, context),
        O::Fsmount(step) => fsmount(step, context),
        O::OpenTree(step) => open_tree(step, context),
        O::MoveMount(step) => move_mount(step, context),
        O::MountSetattr(step) if step.idmap.is_none() => mount_setattr(step, context),
        O::MountSetattr(_) => {
            return Err("idmapped mounts take a user namespace of their own".to_owned());
        }
        O::Losetup(_) => return Err("it attaches a loop device".to_owned()),
        O::Fuse(_) => return Err("it takes a FUSE server".to_owned()),
    })
}

/// A call of mount(2).
fn mount(source: &str, at: &StepPath, kind: &str, how: &str, data: &str) -> Vec<String> {
    result("mount", format!("mount({source}, {}, {kind}, {how}, {data})", path(at)))
}

fn overlay(step: &op::Overlay) -> Vec<String> {
    let layers: Vec<&str> = step.lower.iter().map(StepPath::as_str).collect();
    let data = step.data.iter().map(|layer| format!("::{layer}")).collect::<String>();
    let lower = format!("{}{data}", layers.join(":"));
    let mut options: Vec<(&str, Option<String>)> = Vec::new();
    options.extend((!lower.is_empty()).then_some(("lowerdir", Some(lower))));
    options.extend(step.upper.as_ref().map(|upper| ("upperdir", Some(upper.to_string()))));
    options.extend(step.work.as_ref().map(|work| ("workdir", Some(work.to_string()))));
    options.extend(step.options.iter().map(|option| match option.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (option.as_str(), None),
    }));
    let at = literal(step.at.as_str());
    if step.api == MountApi::Classic {
        let options: Vec<String> = options
            .into_iter()
            .map(|(key, value)| value.map_or_else(|| key.to_owned(), |v| format!("{key}={v}")))
            .collect();
        let how = flags(&step.flags, mount_flag, "");
        let data = joined(&options);
        return result("mount", format!("mount(\"overlay\", {at}, \"overlay\", {how}, {data})"));
    }
    let pairs = options
        .iter()
        .map(|(key, value)| format!("{}, {}, ", literal(key), optional(value.as_deref())))
        .collect::<String>();
    let all: Vec<_> =
        step.flags.iter().filter_map(|flag| flag.attribute()).flatten().copied().collect();
    vec![
        format!("static const char *const options[] = {{ {pairs}NULL }};"),
        format!("overlay_new({at}, options, {:#x});", MountAttribute::bits(&all)),
    ]
}

fn remount(step: &op::Remount) -> Vec<String> {
    let first = if step.bind { "MS_REMOUNT | MS_BIND" } else { "MS_REMOUNT" };
    let how = flags(&step.flags, mount_flag, first);
    mount("NULL", &step.at, "NULL", &how, &joined(&step.options))
}

fn mounted(step: &op::Mounted) -> Vec<String> {
    let at = path(&step.at);
    let call = format!("statx(AT_FDCWD, {at}, AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &s)");
    let is_root = "s.stx_attributes & STATX_ATTR_MOUNT_ROOT ? \"true\" : \"false\"";
    vec![
        "struct statx s;".to_owned(),
        format!("if (result(\"statx\", {call}) >= 0)"),
        format!("\tsay(\"mounted\", \"%s\", {is_root});"),
    ]
}

fn fsconfig(step: &op::Fsconfig, context: &Context<'_>) -> Vec<String> {
    let (fd, key) = (context.fd(&step.fd), optional(step.key.as_deref()));
    let rest = match (&step.command, &step.value, &step.value_fd) {
        (Some(FsCommand::Create), ..) => "6, NULL, NULL, 0".to_owned(),
        (Some(FsCommand::Reconfigure), ..) => "7, NULL, NULL, 0".to_owned(),
        (Some(FsCommand::CreateExclusive), ..) => "8, NULL, NULL, 0".to_owned(),
        (None, Some(value), _) => format!("1, {key}, {}, 0", literal(value)),
        (None, None, Some(name)) => format!("5, {key}, NULL, {}", context.fd(name)),
        (None, None, None) => format!("0, {key}, NULL, 0"),
    };
    vec![format!("configure({fd}, {rest});")]
}

fn fsmount(step: &op::Fsmount, context: &Context<'_>) -> Vec<String> {
    let (fd, attributes) = (context.fd(&step.fd), MountAttribute::bits(&step.attributes));
    let call = format!("result(\"fsmount\", syscall(SYS_fsmount, {fd}, 1, {attributes:#x}))");
    vec![format!("keep(&{}, {call});", context.fd(&step.mount))]
}

fn open_tree(step: &op::OpenTree, context: &Context<'_>) -> Vec<String> {
    let how = flags(&step.flags, open_tree_flag, "O_CLOEXEC");
    let call = format!("syscall(SYS_open_tree, AT_FDCWD, {}, {how})", path(&step.path));
    vec![format!("keep(&{}, result(\"open_tree\", {call}));", context.fd(&step.mount))]
}

fn move_mount(step: &op::MoveMount, context: &Context<'_>) -> Vec<String> {
    let how = [(step.beneath, 0x200), (step.set_group, 0x100), (step.mount.is_some(), 4)];
    let how = how.iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag);
    let from = match (&step.mount, &step.from) {
        (Some(name), _) => format!("{}, \"\"", context.fd(name)),
        (None, from) => format!("AT_FDCWD, {}", from.as_ref().map_or("\"\"".into(), path)),
    };
    let at = path(&step.at);
    let call = format!("syscall(SYS_move_mount, {from}, AT_FDCWD, {at}, {how:#x})");
    result("move_mount", call)
}

fn mount_setattr(step: &op::MountSetattr, context: &Context<'_>) -> Vec<String> {
    let kind = step.propagation.map_or("0", propagation);
    let (set, clear) = (MountAttribute::bits(&step.set), MountAttribute::bits(&step.clear));
    let recursive = if step.recursive { 0x8000 } else { 0 };
    let (at, how) = match (&step.mount, &step.at) {
        (Some(name), _) => (format!("{}, \"\"", context.fd(name)), recursive | 0x1000),
        (None, at) => {
            let at = at.as_ref().map_or("\"\"".into(), path);
            (format!("AT_FDCWD, {at}"), recursive)
        }
    };
    let call = format!("syscall(SYS_mount_setattr, {at}, {how:#x}, attributes, sizeof attributes)");
    let attributes = format!("{set:#x}, {clear:#x}, {kind}, 0");
    let line = format!("const unsigned long long attributes[4] = {{ {attributes} }};");
    [vec![line], result("mount_setattr", call)].concat()
}

fn joined(options: &[String]) -> String {
    if options.is_empty() { "NULL".to_owned() } else { literal(&options.join(",")) }
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}
