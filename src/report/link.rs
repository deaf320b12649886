//! Where the source of a rule can be read.

/// The kernel's sources and documents, as they are now.
const KERNEL: &str = "https://elixir.bootlin.com/linux/latest/source/";
const DOCUMENTS: &str = "https://docs.kernel.org/";
const COMMITS: &str = "https://git.kernel.org/linus/";
const MAN_PAGES: &str = "https://man7.org/linux/man-pages/";

/// The directories of the kernel that sources name.
const DIRECTORIES: &[&str] =
    &["fs/", "kernel/", "mm/", "security/", "include/", "ipc/", "net/", "lib/", "init/"];

/// The addresses that a source names: kernel files and documents, commits, man pages.
pub fn links(source: &str) -> Vec<String> {
    let mut links = Vec::new();
    for item in source.split(';').map(str::trim) {
        if let Some(link) = document(item) {
            links.push(link);
            continue;
        }
        let mut before = "";
        for word in item.split([' ', ',']) {
            let word = word.trim_end_matches(['.', ':']);
            let found = if word.starts_with("https://") {
                Some(word.to_owned())
            } else if DIRECTORIES.iter().any(|directory| word.starts_with(directory)) {
                Some(format!("{KERNEL}{word}"))
            } else if before == "commit" && is_commit(word) {
                Some(format!("{COMMITS}{word}"))
            } else {
                man_page(word)
            };
            links.extend(found.filter(|link| !links.contains(link)));
            before = word;
        }
    }
    links
}

/// A document of the kernel and its section, as in `overlayfs.rst, Non-directories`. One without a
/// directory is about file systems.
fn document(item: &str) -> Option<String> {
    let (file, section) = item.split_once(',').unwrap_or((item, ""));
    let name = file.trim().strip_suffix(".rst")?.trim_start_matches("Documentation/");
    if name.contains(' ') {
        return None;
    }
    let directory = if name.contains('/') { "" } else { "filesystems/" };
    // A numbered section is found by reading; a named one has an anchor.
    let section = section.split(',').next().filter(|named| !named.trim().starts_with("section"));
    let words: Vec<_> = section
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let anchor = if words.is_empty() { String::new() } else { format!("#{}", words.join("-")) };
    Some(format!("{DOCUMENTS}{directory}{name}.html{anchor}"))
}

fn is_commit(word: &str) -> bool {
    word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit())
}

/// `mount(2)` as its page.
fn man_page(word: &str) -> Option<String> {
    let (name, rest) = word.split_once('(')?;
    let section = rest.strip_suffix(')')?;
    let number = section.chars().next().filter(char::is_ascii_digit)?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    (plain && !name.is_empty()).then(|| format!("{MAN_PAGES}man{number}/{name}.{section}.html"))
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn what_a_source_names_has_an_address() {
        assert_eq!(
            links("mount_namespaces(7); fs/namespace.c do_loopback(), commit 0123abcd4567"),
            [
                "https://man7.org/linux/man-pages/man7/mount_namespaces.7.html",
                "https://elixir.bootlin.com/linux/latest/source/fs/namespace.c",
                "https://git.kernel.org/linus/0123abcd4567",
            ]
        );
        assert_eq!(
            links("overlayfs.rst, Upper and Lower; fs/overlayfs/super.c"),
            [
                "https://docs.kernel.org/filesystems/overlayfs.html#upper-and-lower",
                "https://elixir.bootlin.com/linux/latest/source/fs/overlayfs/super.c",
            ]
        );
        assert_eq!(
            links("Documentation/admin-guide/sysctl/fs.rst"),
            ["https://docs.kernel.org/admin-guide/sysctl/fs.html"]
        );
        assert!(links("folklore do_thing()").is_empty());
    }
}
