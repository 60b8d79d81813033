//! The loop: asks, listens to keys and signals, draws.

use super::draw;
use super::keys::wish;
use super::model::{Answer, Model};
use super::palette::Palette;
use super::source::Source;
use super::terminal::Screen;
use super::view::{Next, View};
use crate::error::Failure;
use crossterm::event::{Event, EventStream};
use evenkeel_control::api::ClientError;
use evenkeel_daemon::SetupError;
use futures_util::StreamExt as _;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

/// An answer that takes longer is said to be late.
const LATE: Duration = Duration::from_secs(3);

/// Shows the balancer until a key or a signal ends it.
pub(super) async fn watch(source: &Source, interval: Duration) -> Result<(), Failure> {
    // Asked before the screen is taken: that nobody is there at all is said as every other command says it.
    let mut model = Model::new(source.ask().await?);
    let (mut view, palette) = (View::default(), Palette::from_environment());
    let mut end = End::new()?;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once.
    ticks.tick().await;
    // For what grows older while there is no answer.
    let mut clock = tokio::time::interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let mut screen = Screen::take().map_err(SetupError::of("the terminal"))?;
    let mut keys = EventStream::new();
    // An answer may take its time; keys do not wait for it.
    let mut asked: Option<Asked<'_>> = None;
    let mut asked_at = source.now();
    loop {
        let mut extent = None;
        screen
            .0
            .draw(|frame| {
                let area = frame.area();
                extent = Some(draw::screen(&model, &view, palette, source.now(), area, frame.buffer_mut()));
            })
            .map_err(SetupError::of("the terminal"))?;
        if let (Some(extent), false) = (extent, view.help) {
            view.settle(extent);
        }
        tokio::select! {
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => {
                    if wish(key).is_some_and(|wish| view.obey(wish) == Next::Quit) {
                        return Ok(());
                    }
                }
                // A new size is seen when drawing.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(SetupError::of("the terminal")(error).into()),
                None => return Ok(()),
            },
            answer = next(&mut asked) => {
                asked = None;
                match answer {
                    // What comes during a pause was asked for before it.
                    Ok(_) if view.paused => model.silence = None,
                    Ok(answer) => model.take(answer),
                    Err(error) => model.miss(error.to_string()),
                }
            }
            _ = ticks.tick() => {
                if asked.is_none() && !view.paused {
                    asked = Some(Box::pin(source.ask()));
                    asked_at = source.now();
                }
            }
            _ = clock.tick() => {
                if asked.is_some() && source.now().saturating_sub(asked_at) >= LATE && model.silence.is_none() {
                    model.miss("evenkeel was asked and is late.".to_owned());
                }
            }
            () = end.wait() => return Ok(()),
        }
    }
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Answer, ClientError>> + 'a>>;

/// The answer to what was asked; never, if nothing was.
async fn next(asked: &mut Option<Asked<'_>>) -> Result<Answer, ClientError> {
    match asked {
        Some(asked) => asked.await,
        None => pending().await,
    }
}

/// The signals that end the screen. Ctrl-C is a key while the screen is there; the signal may come from elsewhere.
struct End {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl End {
    fn new() -> Result<Self, Failure> {
        let wanted = |kind| signal(kind).map_err(SetupError::of("signals"));
        Ok(Self {
            terminate: wanted(SignalKind::terminate())?,
            interrupt: wanted(SignalKind::interrupt())?,
            hang_up: wanted(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
