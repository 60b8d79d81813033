//! A program that is attached, from the side that watches over it.

use crate::attach::detach;
use crate::error::XdpError;
use crate::interface::{Interface, program};
use crate::mode::Mode;
use crate::pinned::Pins;
use crate::post::Post;
use evenkeel_control::InterfaceClaim;
use netlink_packet_route::link::LinkMessage;
use rtnetlink::Handle;
use std::os::fd::AsFd;
use std::sync::Arc;

/// A program at its place. Stays there until [`Attachment::detach`].
#[derive(Debug)]
pub struct Attachment {
    post: Arc<Post>,
    /// Why it came to generic mode where native was wished for.
    fallback: Option<String>,
    took_over: bool,
    /// Where its tables have names.
    pins: Vec<Pins>,
    /// Held as long as we are at work on this interface; the kernel lets go of it however we end.
    _only_one: InterfaceClaim,
}

impl Attachment {
    pub(crate) fn new(
        post: Arc<Post>,
        fallback: Option<String>,
        took_over: bool,
        pins: Vec<Pins>,
        only_one: InterfaceClaim,
    ) -> Self {
        Self { post, fallback, took_over, pins, _only_one: only_one }
    }

    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.post.interface
    }

    /// The mode that it came to.
    pub fn mode(&self) -> Mode {
        self.post.mode
    }

    /// Why automatic choice came to generic mode, if it did.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Whether a program that was left behind was replaced.
    pub fn took_over(&self) -> bool {
        self.took_over
    }

    /// Whether the program takes new connections also when this process is killed. It does not where names of BPF maps go with
    /// a mount namespace, as in `ip netns exec`, and the one outside has no BPF file system.
    pub fn lasts(&self) -> bool {
        self.post.lasts()
    }

    /// Whether the program is still where it was put, judged by a message about the interface.
    pub fn is_in(&self, message: &LinkMessage) -> bool {
        message.header.index != self.post.interface.index
            || program(message).is_some_and(|(id, _)| id == self.post.program_id())
    }

    /// Takes the program away, unless another has taken its place, and with it the names of its tables.
    ///
    /// # Errors
    /// The kernel refused.
    pub async fn detach(self, netlink: &Handle) -> Result<(), XdpError> {
        let Post { interface, mode, .. } = &*self.post;
        detach(netlink, interface, *mode, self.post.program_fd().as_fd()).await?;
        self.clear()
    }

    /// Ends, and leaves program and tables at work, for another process to take over.
    pub fn leave(self) {}

    /// Ends after the program has been taken away by somebody else: its tables are of no use any more.
    ///
    /// # Errors
    /// Their names cannot be removed.
    pub fn lost(self) -> Result<(), XdpError> {
        self.clear()
    }

    fn clear(&self) -> Result<(), XdpError> {
        self.post.leave();
        self.pins.iter().try_for_each(Pins::remove)
    }
}
