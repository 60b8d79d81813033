//! Who has sent an order over the Unix socket, for the log.

use tokio::net::UnixStream;
use tokio::net::unix::UCred;

/// Whoever opened the connection.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<UCred>);

impl Caller {
    pub(super) fn of(stream: &UnixStream) -> Self {
        Self(stream.peer_cred().ok())
    }

    /// The user, and who has logged in if that is somebody else, as with sudo: `root (process 7)`, `alice, as root (process 7)`.
    /// Nothing if the kernel does not tell.
    pub(super) fn words(&self) -> Option<String> {
        let credentials = self.0.as_ref()?;
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let process = credentials.pid();
        let logged_in = process.and_then(logged_in);
        Some(words(credentials.uid(), logged_in, process, &users))
    }
}

fn words(user: u32, logged_in: Option<u32>, process: Option<i32>, users: &str) -> String {
    let name = |id: u32| name(users, id).map_or_else(|| format!("user {id}"), str::to_owned);
    let person = match logged_in.filter(|&logged_in| logged_in != user) {
        Some(logged_in) => format!("{}, as {}", name(logged_in), name(user)),
        None => name(user),
    };
    process.map_or_else(|| person.clone(), |process| format!("{person} (process {process})"))
}

/// The user who has logged in and whose session the process is of (proc_pid_loginuid(5)); nothing if it is of none.
fn logged_in(process: i32) -> Option<u32> {
    let id = std::fs::read_to_string(format!("/proc/{process}/loginuid")).ok()?.trim().parse().ok()?;
    (id != u32::MAX).then_some(id)
}

/// A user's name, of a file like passwd(5).
fn name(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";

    #[test]
    fn whoever_has_logged_in_is_named_before_whom_they_act_as() {
        assert_eq!(words(0, Some(1000), Some(7), USERS), "alice, as root (process 7)");
        assert_eq!(words(0, Some(0), Some(7), USERS), "root (process 7)");
        assert_eq!(words(0, None, None, USERS), "root");
        assert_eq!(words(4711, Some(1000), Some(7), USERS), "alice, as user 4711 (process 7)");
    }
}
