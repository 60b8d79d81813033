//! What stands in h2 and h3: answers, and swallows.

use super::load::{ANSWER, CLOSING, KEEPING, QUESTION, SINK};
use crate::error::BenchError;
use std::io::{Read as _, Write as _, stdout};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

/// The word that this program starts itself with in a server's namespace.
pub(crate) const ROLE: &str = "ends-server";
/// Threads that take connections for one question each: as many as there are clients for them in all.
const TAKERS: usize = 8;

/// Serves until the process is ended.
pub(crate) fn serve() -> Result<(), BenchError> {
    let listener = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(BenchError::Listen);
    let (closing, keeping, sink) = (listener(CLOSING)?, listener(KEEPING)?, listener(SINK)?);
    let _ = writeln!(stdout(), "ready");
    thread::scope(|scope| {
        for _ in 0..TAKERS {
            scope.spawn(|| {
                closing.incoming().flatten().for_each(|connection| {
                    answer(&connection);
                })
            });
        }
        scope.spawn(|| each_on_a_thread(&keeping, |connection| while answer(connection).is_some() {}));
        scope.spawn(|| each_on_a_thread(&sink, swallow));
    });
    Ok(())
}

fn each_on_a_thread(listener: &TcpListener, serve: fn(&TcpStream)) {
    for connection in listener.incoming().flatten() {
        thread::spawn(move || serve(&connection));
    }
}

/// One question and its answer; nothing at the connection's end.
fn answer(mut connection: &TcpStream) -> Option<()> {
    connection.read_exact(&mut [0; QUESTION]).ok()?;
    connection.write_all(&[0; ANSWER]).ok()
}

fn swallow(mut connection: &TcpStream) {
    let mut buffer = vec![0; 1 << 18];
    while matches!(connection.read(&mut buffer), Ok(1..)) {}
}
