//! The machine's huge pages, which no sandbox can have for itself.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// How many there are, for everybody.
const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// Waits for its turn, says how many pages there are, and when its input ends makes it so again. A mount point that was
/// not there before goes, too.
const KEEPER: &str = r#"
trap '' INT TERM HUP
exec 9>/run/evenkeel-huge-pages.lock
flock 9
former=$(cat /proc/sys/vm/nr_hugepages)
[ -d /dev/hugepages ] || made=1
echo "$former"
cat >/dev/null
echo "$former" >/proc/sys/vm/nr_hugepages
[ -z "${made-}" ] || rmdir /dev/hugepages 2>/dev/null || :
"#;

/// The right to change the number of huge pages. When this goes the former number is restored: by a process that waits
/// for the end of its input, and so also if the test is killed. One test of the machine has it at a time.
#[derive(Debug)]
pub(super) struct HugePages {
    keeper: Child,
}

impl HugePages {
    /// Waits until nobody else has it.
    ///
    /// # Errors
    /// This machine does not let us: why.
    pub(super) fn borrow_machines() -> Result<Self, String> {
        OpenOptions::new().write(true).open(POOL).map_err(|error| format!("{POOL} cannot be changed ({error})"))?;
        let mut keeper = Command::new("sh");
        // Out of reach of what ends the test: neither its process group nor its terminal.
        // SAFETY: setsid has no arguments and touches no memory.
        unsafe {
            keeper.pre_exec(|| match libc::setsid() {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        keeper.args(["-c", KEEPER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().expect("sh starts");
        let mut former = String::new();
        let output = keeper.stdout.take().expect("it was asked for");
        BufReader::new(output).read_line(&mut former).expect("a line of text");
        assert!(former.trim().parse::<u64>().is_ok(), "the keeper of huge pages says \"{former}\"");
        Ok(Self { keeper })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
