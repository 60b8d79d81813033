//! A server that does with each connection what a script says.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What it does with a connection. Whatever it is, the request is read first, except where it says otherwise.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Says this, and ends the connection.
    Say(String),
    /// Says this, and then nothing more.
    SayAndStay(String),
    /// Says the first, and then the second without end.
    Repeat(String, String),
    /// Says this byte by byte.
    Trickle(String),
    /// Says this before anybody asks, and then nothing more.
    Greet(String),
    /// Ends the connection without reading or saying anything.
    Leave,
}

/// A server, for as long as this exists.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddrV4,
    connects: watch::Receiver<usize>,
    requests: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// One that does with its first connection the first of these, and so on, and with all further ones the last.
    pub(super) async fn start(script: Vec<Manner>) -> Self {
        Self::start_at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), script).await
    }

    /// The same, at a place where another may have been.
    pub(super) async fn start_at(address: SocketAddrV4, script: Vec<Manner>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port on loopback");
        let SocketAddr::V4(address) = listener.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
        let (count, connects) = watch::channel(0);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            // Those that serve end with this one.
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let nth = *count.borrow();
                count.send_replace(nth + 1);
                let manner = script.get(nth).or(script.last()).cloned().unwrap_or(Manner::Leave);
                serving.spawn(serve(stream, manner, Arc::clone(&heard)));
            }
        });
        Self { address, connects, requests, task: task.abort_handle() }
    }

    /// How many have connected.
    pub(super) fn connects(&self) -> usize {
        *self.connects.borrow()
    }

    /// Waits until so many more have connected.
    pub(super) async fn see_more(&mut self, more: usize) {
        let wanted = self.connects() + more;
        let seen = self.connects.wait_for(|connects| *connects >= wanted);
        timeout(super::PATIENCE, seen).await.expect("they come").expect("the server is there");
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no test has panicked").clone()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, heard: Arc<Mutex<Vec<String>>>) -> Option<()> {
    match manner {
        Manner::Leave => return Some(()),
        Manner::Greet(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            return std::future::pending().await;
        }
        Manner::Say(_) | Manner::SayAndStay(_) | Manner::Repeat(..) | Manner::Trickle(_) => {}
    }
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    heard.lock().expect("no test has panicked").push(String::from_utf8_lossy(&request).into_owned());
    match manner {
        Manner::Say(text) => stream.write_all(text.as_bytes()).await.ok()?,
        Manner::SayAndStay(text) => {
            stream.write_all(text.as_bytes()).await.ok()?;
            return std::future::pending().await;
        }
        Manner::Repeat(first, then) => {
            stream.write_all(first.as_bytes()).await.ok()?;
            loop {
                stream.write_all(then.as_bytes()).await.ok()?;
            }
        }
        Manner::Trickle(text) => {
            for byte in text.bytes() {
                stream.write_all(&[byte]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Manner::Greet(_) | Manner::Leave => {}
    }
    stream.shutdown().await.ok()?;
    // Until the other side ends as well: to close before would reset what is still on its way.
    while stream.read_buf(&mut request).await.ok()? > 0 {
        request.clear();
    }
    Some(())
}
