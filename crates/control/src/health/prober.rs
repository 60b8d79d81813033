//! One check, whatever its kind, within its time.

use super::finding::{Finding, Hindrance};
use super::http::Question;
use super::inquiry::Inquiry;
use super::ports::Ports;
use super::talk::{Manners, talk};
use super::udp::Silence;
use super::{dns, tcp, tls, udp};
use crate::config::{Probe, TlsCheck};
use crate::operator::Condition;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

/// Asks.
#[derive(Debug)]
pub(super) struct Prober {
    inquiry: Arc<Inquiry>,
    /// For an HTTP check; nothing if no request can be made of what is wanted.
    question: Option<Question>,
    /// For checks over TLS.
    speaker: Option<Arc<ClientConfig>>,
    manners: Manners,
    /// For checks by datagrams.
    silence: Silence,
    ports: Ports,
    permits: Arc<Semaphore>,
}

impl Prober {
    /// One that asks from these ports, and waits for a permit before each check. `speaker` is for checks over TLS.
    pub(super) fn new(
        inquiry: Arc<Inquiry>,
        speaker: Option<Arc<ClientConfig>>,
        ports: Ports,
        permits: Arc<Semaphore>,
    ) -> Self {
        let question = match &inquiry.probe {
            Probe::Http(check) => Question::new(inquiry.target, check),
            _ => None,
        };
        Self { inquiry, question, speaker, manners: Manners::default(), silence: Silence::default(), ports, permits }
    }

    /// Checks once. Takes no longer than the timeout, counted from when there is a permit.
    pub(super) async fn check(&self) -> Finding {
        // Nobody closes the semaphore; a check without a permit would do no harm.
        let _permit = self.permits.acquire().await;
        let timeout = self.inquiry.timeout;
        let deadline = Instant::now() + timeout;
        let finding = timeout_at(deadline, self.ask(deadline)).await.unwrap_or(Finding::Silent(timeout));
        if finding.speaks_for() != Some(Condition::Up) {
            self.manners.forget();
        }
        finding
    }

    async fn ask(&self, deadline: Instant) -> Finding {
        let asked = match &self.inquiry.probe {
            Probe::Tcp(wanted) => self.ask_plainly(wanted, deadline).await,
            // Apart, so that the many tasks that only wait for their next check do not keep room for so much.
            Probe::Tls(check, wanted) => Box::pin(self.ask_secretly(check, wanted, deadline)).await,
            Probe::Http(check) => {
                let ask = async {
                    let question = self.question.as_ref().ok_or(Finding::NotMade(Hindrance::Request))?;
                    let stream = self.connect().await?;
                    Ok(match &check.tls {
                        None => question.ask(stream, check, deadline).await,
                        Some(tls) => question.ask(self.secure(stream, tls).await?, check, deadline).await,
                    })
                };
                Box::pin(ask).await
            }
            Probe::Udp(wanted) => {
                Ok(Box::pin(udp::check(self.to(), wanted, &self.ports, &self.silence, deadline)).await)
            }
            Probe::Dns(check) => Ok(Box::pin(dns::check(self.to(), check, &self.ports)).await),
        };
        asked.unwrap_or_else(|finding| finding)
    }

    async fn ask_plainly(&self, wanted: &crate::config::Talk, deadline: Instant) -> Result<Finding, Finding> {
        let begun = Instant::now();
        let mut stream = self.connect().await?;
        let connected = Finding::Connected(begun.elapsed());
        // The backend sees an end when the stream goes, and a reset only where checks are very frequent.
        Ok(talk(&mut stream, wanted, &self.manners, connected, deadline).await)
    }

    async fn ask_secretly(
        &self,
        check: &TlsCheck,
        wanted: &crate::config::Talk,
        deadline: Instant,
    ) -> Result<Finding, Finding> {
        let begun = Instant::now();
        let stream = self.connect().await?;
        let mut stream = self.secure(stream, check).await?;
        let secured = Finding::Secured(begun.elapsed());
        let finding = talk(&mut stream, wanted, &self.manners, secured, deadline).await;
        tls::end(&mut stream, deadline).await;
        Ok(finding)
    }

    /// Where from and where to.
    fn to(&self) -> (Option<IpAddr>, SocketAddr) {
        (self.inquiry.source, self.inquiry.target)
    }

    async fn connect(&self) -> Result<TcpStream, Finding> {
        tcp::connect(self.to(), &self.ports).await
    }

    async fn secure(&self, stream: TcpStream, check: &TlsCheck) -> Result<TlsStream<TcpStream>, Finding> {
        let speaker = self.speaker.as_ref().ok_or(Finding::NotMade(Hindrance::Tls))?;
        tls::secure(stream, speaker, check, self.inquiry.target).await
    }
}
