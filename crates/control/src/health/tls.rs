//! TLS towards a backend, and whom it may be.

use super::finding::{Distrust, Finding};
use crate::config::TlsCheck;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What speaks TLS, for each way in which checks want it: to make one is work, and takes room.
#[derive(Debug, Default)]
pub(super) struct Speakers(HashMap<TlsCheck, Arc<ClientConfig>>);

impl Speakers {
    /// The one for these checks; nothing if none can be made.
    pub(super) fn speaker(&mut self, check: &TlsCheck) -> Option<Arc<ClientConfig>> {
        // The name is no part of it.
        let key = TlsCheck { name: None, ..check.clone() };
        if let Some(there) = self.0.get(&key) {
            return Some(Arc::clone(there));
        }
        let made = Arc::new(make(check).ok()?);
        self.0.insert(key, Arc::clone(&made));
        Some(made)
    }

    /// Forgets those that nobody has any more.
    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, config| Arc::strong_count(config) > 1);
    }
}

fn make(check: &TlsCheck) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = if check.verify {
        builder.with_root_certificates(roots(check)).with_no_client_auth()
    } else {
        let anybody = Arc::new(Anybody(provider));
        builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
    };
    // A certificate that has expired must be seen, which a session that is taken up again does not show.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Who vouches. Of what the system has, some may be written in ways that are not understood; then they vouch for nobody.
fn roots(check: &TlsCheck) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match &check.authorities {
        Some(authorities) => {
            let certificates = authorities.certificates.iter().map(|der| CertificateDer::from(der.clone()));
            roots.add_parsable_certificates(certificates);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    roots
}

/// Speaks TLS on a connection.
///
/// # Errors
/// What it means that it does not work.
pub(super) async fn secure(
    stream: TcpStream,
    speaker: &Arc<ClientConfig>,
    check: &TlsCheck,
    target: SocketAddr,
) -> Result<TlsStream<TcpStream>, Finding> {
    let name = check.name.as_ref().map_or_else(|| ServerName::IpAddress(target.ip().into()), |name| name.0.clone());
    TlsConnector::from(Arc::clone(speaker)).connect(name, stream).await.map_err(|error| failure(&error))
}

/// Says that there is nothing more to come; a server that was left without a word would take the connection for cut off.
pub(super) async fn end(stream: &mut TlsStream<TcpStream>, deadline: Instant) {
    // What was found does not depend on it.
    let _ = timeout_at(deadline, stream.shutdown()).await;
}

/// What it means that a connection failed, with TLS on it or without.
pub(super) fn failure(error: &io::Error) -> Finding {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Finding::Closed,
            _ => Finding::of_transfer(error),
        };
    };
    match tls {
        Error::InvalidCertificate(error) => Finding::Distrusted(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Distrust::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Distrust::NotYet,
            // Or somebody vouches who only has the name of one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Distrust::Issuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Distrust::Name,
            _ => Distrust::Other,
        }),
        Error::NoCertificatesPresented => Finding::Distrusted(Distrust::Other),
        Error::AlertReceived(_) | Error::PeerIncompatible(_) => Finding::TlsRefused,
        _ => Finding::NotTls,
    }
}

/// Takes every certificate, where the file says so; that whoever shows it has its key is looked at all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
