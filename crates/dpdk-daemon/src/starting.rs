//! Being told to stop while EAL or a port starts. Some drivers wait there until another program comes, which may be for
//! ever, and nobody can call them back.

use evenkeel_daemon::Stop;
use std::io;
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// So long a start that is not wanted any more may go on: most are over before, and then end in good order.
const GRACE: Duration = Duration::from_secs(2);

/// A start under way. If the program is told to stop and this does not go soon, the process ends where it is: nothing of
/// it outlives it.
#[derive(Debug)]
pub(crate) struct Starting {
    _gone: oneshot::Sender<()>,
}

impl Starting {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system does not let us.
    pub(crate) fn begin() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut stop = {
            let _inside = runtime.enter();
            Stop::new()?
        };
        let (sender, mut gone) = oneshot::channel();
        thread::Builder::new().name("starting".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = &mut gone => return,
                    _ = stop.asked() => {}
                }
                if timeout(GRACE, gone).await.is_err() {
                    // SAFETY: does not return. What C has registered for a good end is not for a half-made start.
                    unsafe { libc::_exit(0) }
                }
            });
        })?;
        Ok(Self { _gone: sender })
    }
}
