//! `evenkeel top`: a running balancer, live.

mod draw;
mod figures;
mod history;
mod keys;
mod model;
mod palette;
mod rate;
mod rows;
mod source;
mod terminal;
mod view;
mod watch;

use crate::ask::Socket;
use crate::error::Failure;
use clap::Args;
use evenkeel_daemon::{Refusal, SetupError};
use source::Source;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

/// The width of a plain frame if nobody says how wide.
const PLAIN_WIDTH: u16 = 80;

/// How it is shown.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Top {
    /// Ask every so many seconds, 1 to 60.
    ///
    /// Every answer counts all connections: with millions of them, ask less often.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=60))]
    interval: u16,
    /// Ask twice, print one plain frame with everything, and end: for pipes.
    ///
    /// As wide as COLUMNS says or the terminal is, else 80 columns.
    #[arg(long)]
    once: bool,
}

/// Shows it until the user has seen enough.
pub(crate) fn top(socket: &Socket, top: Top) -> Result<(), Failure> {
    if !top.once && !stdout().is_terminal() {
        return Err(Refusal::Wrong("top needs a terminal to draw on; into a pipe, use top --once".to_owned()).into());
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SetupError::of("the runtime"))?;
    let interval = Duration::from_secs(top.interval.into());
    let source = Source::new(&socket.socket);
    runtime.block_on(async {
        if top.once { once(&source, interval).await } else { watch::watch(&source, interval).await }
    })
}

async fn once(source: &Source, interval: Duration) -> Result<(), Failure> {
    let mut model = model::Model::new(source.ask().await?);
    tokio::time::sleep(interval).await;
    model.take(source.ask().await?);
    let frame = draw::plain(&model, plain_width(), source.now());
    let mut text = String::new();
    for row in frame.content.chunks(usize::from(frame.area.width).max(1)) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    // Whoever reads may have read enough.
    let _ = stdout().write_all(text.as_bytes());
    Ok(())
}

fn plain_width() -> u16 {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal =
        || stdout().is_terminal().then(|| crossterm::terminal::size().ok()).flatten().map(|(width, _)| width);
    // Beyond, nothing would be gained but memory lost.
    told.or_else(terminal).unwrap_or(PLAIN_WIDTH).min(400)
}
