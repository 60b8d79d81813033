//! Backends that can be killed: processes, unlike [`super::Servers`].

use super::{Running, SERVICE_PORT, Testbed};
use std::fs;
use std::path::PathBuf;

/// Answers messages as [`super::Servers`] do, and on the same port HTTP: its name, and under /health the status that a file
/// names.
const SERVER: &str = r#"
import socket, sys, threading
name, port, status_file = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3]
def serve(connection):
    stream = connection.makefile("rwb")
    while head := stream.read(4):
        if head == b"GET ":
            path = stream.readline().split()[0]
            while stream.readline().strip():
                pass
            status = open(status_file, "rb").read() if path == b"/health" else b"200 OK"
            stream.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(name), name))
        else:
            answer = name + stream.read(int.from_bytes(head, "big"))
            stream.write(len(answer).to_bytes(4, "big") + answer)
        stream.flush()
    connection.close()
if socket.has_dualstack_ipv6():
    listener = socket.create_server(("::", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
else:
    listener = socket.create_server(("", port), backlog=1024)
print("listening", flush=True)
while True:
    connection = listener.accept()[0]
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
"#;

/// A server in a namespace, whose name it says. Killed when dropped.
#[derive(Debug)]
pub struct Backend {
    namespace: &'static str,
    process: Running,
    status_file: PathBuf,
}

impl Backend {
    /// Starts it; it is well.
    pub fn start(bed: &Testbed, namespace: &'static str) -> Self {
        let status_file = bed.config(&format!("{namespace}.status"), "200 OK");
        let process = spawn(bed, namespace, &status_file);
        Self { namespace, process, status_file }
    }

    /// Ends the process, without a word to anybody.
    pub fn kill(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.finish();
    }

    /// Starts it again.
    pub fn heal(&mut self, bed: &Testbed) {
        self.process = spawn(bed, self.namespace, &self.status_file);
    }

    /// From now on /health answers with this; everything else is served as before.
    pub fn answer_health(&self, status: &str) {
        // In one go: a check may come at any moment.
        let beside = self.status_file.with_extension("new");
        fs::write(&beside, status).and_then(|()| fs::rename(&beside, &self.status_file)).expect("it can be written");
    }
}

fn spawn(bed: &Testbed, namespace: &str, status_file: &std::path::Path) -> Running {
    let (port, status_file) = (SERVICE_PORT.to_string(), status_file.display().to_string());
    let process = bed.start(namespace, &["python3", "-c", SERVER, namespace, &port, &status_file]);
    process.wait_for("listening");
    process
}
