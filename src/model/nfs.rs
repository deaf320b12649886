//! NFS: a client that asks, and a server that knows only the ids on the wire and what its export
//! squashes. What the client shows is what the server has: there is no cache in between.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::halt::{Res, refuse};
use super::ids::cap;
use super::machine::{
    Cred, Dentry, DentryId, FileType, FsType, Inode, InodeId, Kid, Kind, Machine, MountId, Place,
    ProcId,
};
use super::rules::{files as file_rules, nfs as rules};
use super::vfs::{Access, Attr, Change, New, NewKind, RenameHow, Walk};
use crate::scenario::scalar::Errno;
use crate::scenario::world::{Nfs, NfsVersion, Squash};

/// How many supplementary groups AUTH_SYS has room for: RFC 5531, appendix A.
const WIRE_GROUPS: usize = 16;
/// What the server lets root do: `CAP_NFSD_SET` of include/linux/capability.h.
const ROOT_CAPABILITIES: [u8; 7] = [
    cap::CHOWN,
    cap::DAC_OVERRIDE,
    cap::DAC_READ_SEARCH,
    cap::FOWNER,
    cap::FSETID,
    cap::MKNOD,
    cap::SYS_RESOURCE,
];

/// The client's side of a mounted export.
#[derive(Clone, Debug)]
pub struct Client {
    export: Nfs,
    /// The mount that is exported from.
    exported: MountId,
    known: RefCell<Known>,
}

/// What the client has seen of the server, so that one file stays one file.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Inodes, by those of the server.
    inodes: BTreeMap<InodeId, InodeId>,
    /// Names, by those of the server, and the other way round.
    dentries: BTreeMap<DentryId, DentryId>,
    theirs: BTreeMap<DentryId, DentryId>,
}

impl Machine<'_> {
    /// Exports a directory and mounts it back, as the first user namespace's root.
    ///
    /// # Errors
    /// Where one of the two places is not there.
    pub fn nfs_mount(&mut self, who: ProcId, world: &Nfs) -> Res<()> {
        let root = Some(self.sandbox_root);
        let export = self.walk(who, root, world.export.as_str(), Walk::DIRECTORY)?;
        let at = self.walk(who, root, world.at.as_str(), Walk::DIRECTORY)?;
        let new = New { kind: NewKind::Dir, mode: 0, uid: 0, gid: 0 };
        self.managed_gids.extend(world.manage_gids.clone());
        let sb = self.new_super(FsType::Nfs, self.first_userns(), new);
        let top = self.supers[sb].root;
        let inode = self.inode(top);
        self.inodes[inode].kind = Kind::Remote(export.dentry);
        let known = Known {
            inodes: BTreeMap::from([(self.inode(export.dentry), inode)]),
            dentries: BTreeMap::from([(export.dentry, top)]),
            theirs: BTreeMap::from([(top, export.dentry)]),
        };
        self.supers[sb].nfs = Some(Rc::new(Client {
            export: world.clone(),
            exported: export.mount,
            known: RefCell::new(known),
        }));
        let ns = self.processes[who].mnt_ns;
        self.plain_mount(sb, ns, Some(at));
        Ok(())
    }

    // ---- the wire ----

    fn client(&self, inode: InodeId) -> Res<Rc<Client>> {
        self.supers[self.inodes[inode].sb].nfs.clone().ok_or_else(|| Errno::EIO.into())
    }

    fn client_of(&self, dentry: DentryId) -> Res<Rc<Client>> {
        self.client(self.inode(dentry))
    }

    /// The credentials by which the server decides: ids in the first user namespace, squashed.
    fn wire(&self, client: &Client, cred: &Cred) -> Rc<Cred> {
        if cred.effective != 0 && !self.by(&rules::WIRE_IDS) {
            return Rc::new(cred.clone());
        }
        let Nfs { squash, .. } = client.export;
        let (anonymous_uid, anonymous_gid) = client.export.anonymous();
        let all = squash == Squash::All && self.by(&rules::ALL_SQUASH);
        let squashed = |id: Kid, anonymous: Kid| {
            let root = id == 0 && squash == Squash::Root && self.by(&rules::ROOT_SQUASH);
            if all || root { anonymous } else { id }
        };
        let (uid, gid) = (squashed(cred.fsuid, anonymous_uid), squashed(cred.fsgid, anonymous_gid));
        let groups = if all { Vec::new() } else { self.wire_groups(cred) };
        let groups = groups.into_iter().map(|id| squashed(id, anonymous_gid)).collect();
        let is_root = uid == 0 && self.by(&rules::ROOT_OF_SERVER);
        let capabilities = ROOT_CAPABILITIES.iter().fold(0, |bits, number| bits | (1 << number));
        let effective = if is_root { capabilities } else { 0 };
        Rc::new(Cred {
            userns: self.first_userns(),
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups,
            effective,
            permitted: effective,
            inheritable: 0,
            bounding: effective,
            ambient: 0,
            keepcaps: false,
            no_new_privs: false,
        })
    }

    /// The supplementary groups that the server takes a user to have.
    fn wire_groups(&self, cred: &Cred) -> Vec<Kid> {
        if !self.managed_gids.is_empty() && self.by(&rules::MANAGE_GIDS) {
            let known = self.managed_gids.get(&cred.fsuid).cloned().unwrap_or_default();
            if !known.is_empty() || !self.by(&rules::MANAGE_GIDS_UNKNOWN) {
                return known;
            }
        }
        let mut groups = cred.groups.to_vec();
        groups.sort_unstable();
        if groups.len() > WIRE_GROUPS && self.by(&rules::WIRE_GROUPS) {
            groups.truncate(WIRE_GROUPS);
        }
        groups
    }

    /// What the server refuses to change, whoever asks.
    fn deny_change(&self, client: &Client) -> Res<()> {
        self.deny(client.export.ro, &rules::READ_ONLY, Errno::EROFS)
    }

    /// The server's name of what a name of the client stands for.
    fn theirs(&self, client: &Client, dentry: DentryId) -> Res<DentryId> {
        client.known.borrow().theirs.get(&dentry).copied().ok_or_else(|| Errno::ESTALE.into())
    }

    /// The place of a server's file, on the mount that is exported from.
    fn their_place(&self, client: &Client, dentry: DentryId) -> Res<Place> {
        Ok(Place { mount: client.exported, dentry: self.theirs(client, dentry)? })
    }

    /// The client's name of a name of the server, in a directory of the client.
    fn ours(&mut self, client: &Client, dir: DentryId, theirs: DentryId) -> DentryId {
        let inode = self.our_inode(client, self.dentries[dir].sb, theirs);
        let name = Rc::clone(&self.dentries[theirs].name);
        let known = client.known.borrow().dentries.get(&theirs).copied();
        if let Some(ours) = known {
            // It may have been renamed on the server.
            let dentry = &mut self.dentries[ours];
            (dentry.parent, dentry.name, dentry.inode) = (dir, name, inode);
            return ours;
        }
        let sb = self.dentries[dir].sb;
        let ours = self.dentries.add(Dentry { sb, parent: dir, name, inode, unlinked: false });
        let mut known = client.known.borrow_mut();
        known.dentries.insert(theirs, ours);
        known.theirs.insert(ours, theirs);
        ours
    }

    fn our_inode(
        &mut self,
        client: &Client,
        sb: super::machine::SuperId,
        theirs: DentryId,
    ) -> InodeId {
        let their_inode = self.inode(theirs);
        if let Some(inode) = client.known.borrow().inodes.get(&their_inode) {
            return *inode;
        }
        let number = self.inodes[their_inode].number;
        let shown = self.inodes[self.real(their_inode)].clone();
        let inode = Inode {
            sb,
            number,
            kind: Kind::Remote(theirs),
            xattrs: BTreeMap::new(),
            locks: Vec::new(),
            ..shown
        };
        let inode = self.inodes.add(inode);
        client.known.borrow_mut().inodes.insert(their_inode, inode);
        inode
    }

    // ---- what the client is asked ----

    /// Whether the server lets credentials do something with a file (`nfs_permission`).
    pub fn nfs_permission(&self, cred: &Cred, inode: InodeId, access: Access) -> Res<()> {
        let client = self.client(inode)?;
        let Kind::Remote(theirs) = self.inodes[inode].kind else { return Ok(()) };
        if access.write && client.export.ro {
            // Of a directory the client asks nothing: the server hears of the change itself.
            let asked = self.file_type(inode) != FileType::Dir;
            self.deny(asked, &rules::READ_ONLY_ACCESS, Errno::EACCES)?;
        }
        let wire = self.wire(&client, cred);
        self.inode_permission(&wire, None, self.inode(theirs), access)
    }

    /// Whether an existing file may be opened: the client leaves that to the server, by opening it.
    pub fn nfs_may_open(&self, dentry: DentryId, write: bool) -> Res<()> {
        match &self.supers[self.dentries[dentry].sb].nfs {
            Some(client) if write => self.deny_change(client),
            _ => Ok(()),
        }
    }

    /// What a server is asked by access(2).
    pub fn nfs_access(&self, dentry: DentryId, access: Access) -> Res<Access> {
        let Some(client) = &self.supers[self.dentries[dentry].sb].nfs else { return Ok(access) };
        if !access.write {
            return Ok(access);
        }
        self.deny(client.export.ro, &rules::READ_ONLY_ACCESS, Errno::EACCES)?;
        let search = self.is_dir(dentry) && !access.execute && self.by(&rules::ACCESS_DIRECTORY);
        Ok(Access { execute: access.execute || search, ..access })
    }

    /// The child of a directory.
    pub fn nfs_lookup(&mut self, dir: DentryId, name: &str) -> Res<Option<DentryId>> {
        let client = self.client_of(dir)?;
        let their_dir = self.theirs(&client, dir)?;
        let found = self.fs_lookup(their_dir, name)?;
        Ok(found.map(|theirs| self.ours(&client, dir, theirs)))
    }

    /// The names that a directory lists.
    pub fn nfs_list(&mut self, dir: DentryId) -> Res<Vec<Rc<str>>> {
        let client = self.client_of(dir)?;
        let their_dir = self.theirs(&client, dir)?;
        self.fs_list(their_dir)
    }

    /// Makes a file, which belongs to who the server takes the caller for.
    pub fn nfs_make(
        &mut self,
        cred: &Rc<Cred>,
        dir: DentryId,
        name: &str,
        new: New<'_>,
    ) -> Res<DentryId> {
        let client = self.client_of(dir)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let their_dir = self.their_place(&client, dir)?;
        let whiteout = matches!(new.kind, NewKind::Char(0, 0));
        let device = matches!(new.kind, NewKind::Char(..) | NewKind::Block(..)) && !whiteout;
        let refused = device && !wire.has(cap::MKNOD);
        self.deny(refused, &file_rules::MKNOD_DEVICE, Errno::EPERM)?;
        let new = self.new_file(&wire, their_dir, new.kind, new.mode);
        let theirs = self.fs_make(&wire, their_dir.dentry, name, new)?;
        Ok(self.ours(&client, dir, theirs))
    }

    /// Makes one more name of a file.
    pub fn nfs_link(
        &mut self,
        cred: &Rc<Cred>,
        old: DentryId,
        dir: DentryId,
        name: &str,
    ) -> Res<DentryId> {
        let client = self.client_of(dir)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let (their_old, their_dir) = (self.theirs(&client, old)?, self.theirs(&client, dir)?);
        let theirs = self.fs_link(&wire, their_old, their_dir, name)?;
        Ok(self.ours(&client, dir, theirs))
    }

    /// Removes a name, where the server lets the caller.
    pub fn nfs_remove(&mut self, cred: &Rc<Cred>, victim: DentryId) -> Res<()> {
        let client = self.client_of(victim)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let theirs = self.theirs(&client, victim)?;
        self.server_may_remove(&client, &wire, theirs)?;
        self.fs_remove(&wire, theirs)?;
        self.dentries[victim].unlinked = true;
        Ok(())
    }

    fn server_may_remove(&self, client: &Client, wire: &Cred, theirs: DentryId) -> Res<()> {
        let dir = Place { mount: client.exported, dentry: self.dentries[theirs].parent };
        self.may_remove(wire, dir, theirs, self.is_dir(theirs))
    }

    /// Renames, where the server lets the caller.
    pub fn nfs_rename(
        &mut self,
        cred: &Rc<Cred>,
        old: DentryId,
        new_dir: DentryId,
        new_name: &str,
        target: Option<DentryId>,
        how: RenameHow,
    ) -> Res<()> {
        let flags = how.noreplace || how.exchange || how.whiteout;
        self.deny(flags, &rules::RENAME_FLAGS, Errno::EINVAL)?;
        let client = self.client_of(old)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let their_old = self.theirs(&client, old)?;
        let their_dir = self.theirs(&client, new_dir)?;
        self.server_may_remove(&client, &wire, their_old)?;
        let their_target = match target {
            Some(target) => {
                let theirs = self.theirs(&client, target)?;
                self.server_may_remove(&client, &wire, theirs)?;
                Some(theirs)
            }
            None => {
                let dir = self.inode(their_dir);
                self.inode_permission(&wire, None, dir, Access::CHANGE_DIR)?;
                None
            }
        };
        self.fs_rename(&wire, their_old, their_dir, new_name, their_target, how)?;
        if let Some(target) = target {
            self.dentries[target].unlinked = true;
        }
        let dentry = &mut self.dentries[old];
        (dentry.parent, dentry.name) = (new_dir, new_name.into());
        Ok(())
    }

    /// Has the server change attributes. It takes set-user-ID and set-group-ID bits away itself
    /// (`nfsd_sanitize_attrs`), so that the client does not ask for that alone.
    pub fn nfs_setattr(&mut self, cred: &Rc<Cred>, dentry: DentryId, change: &Change) -> Res<()> {
        let client = self.client_of(dentry)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let squashed = match client.export.squash {
            Squash::Root if (wire.fsuid, wire.fsgid) != (cred.fsuid, cred.fsgid) => {
                Some(&rules::ROOT_SQUASH)
            }
            Squash::All => Some(&rules::ALL_SQUASH),
            _ => Some(&rules::WIRE_IDS),
        };
        self.tell("who asks, to the server", squashed, || {
            let has = if wire.has(cap::CHOWN) { "with" } else { "without" };
            format!("user {} and group {}, {has} the rights of root", wire.fsuid, wire.fsgid)
        });
        let place = self.their_place(&client, dentry)?;
        let Change { mode, uid, gid, atime, mtime, .. } = *change;
        if let Some(size) = change.size {
            self.vfs_ftruncate(&wire, place, size)?;
        }
        let mut asked = Change {
            mode,
            uid,
            gid,
            atime,
            mtime,
            touch: change.touch,
            own_times: change.own_times,
            ..Change::default()
        };
        if asked == Change::default() {
            return Ok(());
        }
        if uid.is_some() || gid.is_some() {
            self.drop_for_chown(&wire, None, place.dentry, &mut asked);
        }
        self.notify_change(&wire, None, place.dentry, asked)
    }

    /// Opens a file; what may be done with it was asked before.
    pub fn nfs_open(&mut self, _: &Rc<Cred>, dentry: DentryId, _: bool, _: bool) -> Res<()> {
        let client = self.client_of(dentry)?;
        self.theirs(&client, dentry).map(drop)
    }

    /// Up to `length` bytes of a file from an offset.
    pub fn nfs_read(&mut self, dentry: DentryId, offset: u64, length: usize) -> Res<Vec<u8>> {
        let client = self.client_of(dentry)?;
        let theirs = self.theirs(&client, dentry)?;
        self.fs_read(theirs, offset, length)
    }

    /// Has the server write to an open file.
    pub fn nfs_write(
        &mut self,
        cred: &Rc<Cred>,
        dentry: DentryId,
        offset: u64,
        data: &[u8],
    ) -> Res<usize> {
        let client = self.client_of(dentry)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let place = self.their_place(&client, dentry)?;
        self.strip_privileges(&wire, place, data.is_empty())?;
        self.fs_write(&wire, place.dentry, offset, data)
    }

    /// What stat(2) tells: how many blocks a file takes is the server's business.
    pub fn nfs_getattr(&mut self, dentry: DentryId) -> Res<Attr> {
        let client = self.client_of(dentry)?;
        let theirs = self.theirs(&client, dentry)?;
        let attr = self.fs_getattr(theirs)?;
        let dev = u64::from(self.dentries[dentry].sb.number());
        let size = attr.size.filter(|_| attr.kind != FileType::Dir);
        Ok(Attr { dev, size, blocks: None, ..attr })
    }

    // ---- extended attributes ----

    /// Only version 4.2 has attributes, and of one namespace alone.
    fn nfs_attribute(&self, client: &Client, name: &str) -> Res<()> {
        if !name.starts_with("user.") {
            return self.deny(true, &rules::XATTR_PREFIX, Errno::EOPNOTSUPP);
        }
        if client.export.version == NfsVersion::V42 && self.by(&rules::XATTR_USER) {
            return Ok(());
        }
        refuse(Errno::EOPNOTSUPP)
    }

    /// An extended attribute.
    pub fn nfs_getxattr(&mut self, dentry: DentryId, name: &str) -> Res<Vec<u8>> {
        let client = self.client_of(dentry)?;
        self.nfs_attribute(&client, name)?;
        let theirs = self.theirs(&client, dentry)?;
        self.fs_getxattr(theirs, name)
    }

    /// Has the server set an extended attribute.
    pub fn nfs_setxattr(
        &mut self,
        cred: &Rc<Cred>,
        dentry: DentryId,
        name: &str,
        value: &[u8],
        create: bool,
        replace: bool,
    ) -> Res<()> {
        let client = self.client_of(dentry)?;
        self.nfs_attribute(&client, name)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let theirs = self.theirs(&client, dentry)?;
        self.setxattr_through(&wire, None, theirs, name, value, (create, replace))
    }

    /// Has the server remove an extended attribute.
    pub fn nfs_removexattr(&mut self, cred: &Rc<Cred>, dentry: DentryId, name: &str) -> Res<()> {
        let client = self.client_of(dentry)?;
        self.nfs_attribute(&client, name)?;
        self.deny_change(&client)?;
        let wire = self.wire(&client, cred);
        let theirs = self.theirs(&client, dentry)?;
        self.removexattr_through(&wire, None, theirs, name)
    }

    /// The names of the extended attributes.
    pub fn nfs_listxattr(&mut self, dentry: DentryId) -> Res<Vec<Rc<str>>> {
        let client = self.client_of(dentry)?;
        let theirs = self.theirs(&client, dentry)?;
        let mut names = self.fs_listxattr(theirs)?;
        names.retain(|name| self.nfs_attribute(&client, name).is_ok());
        Ok(names)
    }
}
