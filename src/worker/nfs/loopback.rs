//! The network of a server and its clients: the loopback interface of a namespace of their own.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The index of `lo` in every network namespace.
const LOOPBACK: u32 = 1;
/// `RTM_NEWLINK`, `RTM_NEWADDR`, `NLM_F_REQUEST | NLM_F_ACK`: see netlink(7) and rtnetlink(7).
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const REQUEST: u16 = 0x5;
const CREATE: u16 = 0x400;
/// `IFF_UP`, `AF_INET`, `IFA_LOCAL`, `RT_SCOPE_HOST`.
const UP: u32 = 1;
const INET: u8 = 2;
const LOCAL: u16 = 2;
const SCOPE_HOST: u8 = 254;

/// The address of a client, counted from one, and of the server as this client sees it.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}

/// Sets the interface up, with an address for each client: whoever connects to an address that is a
/// network of its own has the same address itself.
///
/// # Errors
/// Those of netlink(7).
pub fn set_up(clients: u8) -> Result<()> {
    // Protocol 0 of this family is NETLINK_ROUTE.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let mut link = vec![0; 4];
    link.extend(LOOPBACK.to_ne_bytes());
    link.extend(UP.to_ne_bytes());
    link.extend(UP.to_ne_bytes());
    ask(&socket, NEW_LINK, REQUEST, &link)?;
    // The first is there already.
    for number in 2..=clients {
        let mut message = vec![INET, 32, 0, SCOPE_HOST];
        message.extend(LOOPBACK.to_ne_bytes());
        message.extend(8_u16.to_ne_bytes());
        message.extend(LOCAL.to_ne_bytes());
        message.extend(address(number).octets());
        ask(&socket, NEW_ADDRESS, REQUEST | CREATE, &message)?;
    }
    Ok(())
}

/// Sends one request and waits for its acknowledgement, a `struct nlmsgerr`.
fn ask(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    const HEADER: usize = 16;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::send(socket, &message, SendFlags::empty())?;
    let mut reply = [0; 256];
    let (length, _) = rustix::net::recv(socket, &mut reply[..], RecvFlags::empty())?;
    let status = reply[..length].get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
    match status.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(-error)),
        None => Err(Errno::BADMSG),
    }
}
