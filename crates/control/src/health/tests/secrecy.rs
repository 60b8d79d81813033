//! Checks over TLS: who is believed, and who is not.

use super::answers::{check, nobody};
use super::server::{Manner, Server};
use super::{PATIENCE, page};
use crate::config::{Authorities, CertifiedName, HttpCheck, Probe, Talk, TlsCheck};
use crate::health::finding::{Distrust, Finding};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Who vouches for the servers of these tests.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are right ones");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("it vouches for itself") }
    }

    fn trusted(&self) -> Option<Authorities> {
        Some(Authorities { path: "ca.pem".into(), certificates: vec![self.issuer.der().to_vec()] })
    }

    /// A server with a certificate for these names, until this year; it answers a request like a web server.
    async fn serve(&self, names: &[&str], until: i32) -> SocketAddrV4 {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is vouched for");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
            .expect("certificate and key belong together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on loopback");
        let SocketAddr::V4(address) = listener.local_addr().expect("it is bound") else { panic!("loopback is IPv4") };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n")
                        && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0)
                    {}
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine").await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        address
    }
}

fn tls(verify: bool, name: Option<&str>, authorities: Option<Authorities>) -> TlsCheck {
    let name = name.map(|name| CertifiedName(name.to_owned().try_into().expect("a name")));
    TlsCheck { verify, name, authorities }
}

fn bare(check: TlsCheck) -> Probe {
    Probe::Tls(check, Talk::default())
}

#[tokio::test]
async fn a_certificate_must_be_trusted_in_force_and_for_the_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.serve(&["web.example", "127.0.0.1"], 2999).await;
    for (name, trusted, expected) in [
        (Some("web.example"), authority.trusted(), None),
        (None, authority.trusted(), None),
        (Some("mail.example"), authority.trusted(), Some(Distrust::Name)),
        (Some("web.example"), other.trusted(), Some(Distrust::Issuer)),
        // Of whom the system trusts it is none.
        (Some("web.example"), None, Some(Distrust::Issuer)),
    ] {
        let found = check(server, bare(tls(true, name, trusted)), PATIENCE).await;
        match expected {
            None => assert!(matches!(found, Finding::Secured(_)), "{name:?}: {found:?}"),
            Some(why) => assert_eq!(found, Finding::Distrusted(why), "{name:?}"),
        }
    }
    let expired = authority.serve(&["web.example"], 2001).await;
    let found = check(expired, bare(tls(true, Some("web.example"), authority.trusted())), PATIENCE).await;
    assert_eq!(found, Finding::Distrusted(Distrust::Expired));
    // Only whoever asks for it believes everybody.
    let found = check(expired, bare(tls(false, Some("mail.example"), None)), PATIENCE).await;
    assert!(matches!(found, Finding::Secured(_)), "{found:?}");
}

#[tokio::test]
async fn requests_and_talks_go_over_tls() {
    let authority = Authority::new();
    let server = authority.serve(&["127.0.0.1"], 2999).await;
    let secret = || tls(true, None, authority.trusted());
    let wanted = |body: &str| HttpCheck { tls: Some(secret()), body: Some(body.to_owned()), ..page() };
    assert_eq!(check(server, Probe::Http(wanted("fine")), PATIENCE).await, Finding::Answered(200));
    assert_eq!(check(server, Probe::Http(wanted("well")), PATIENCE).await, Finding::OtherBody);
    let untrusted = HttpCheck { tls: Some(tls(true, None, None)), ..page() };
    assert_eq!(check(server, Probe::Http(untrusted), PATIENCE).await, Finding::Distrusted(Distrust::Issuer));
    let talk = |expect: &[u8]| Talk { send: Some(b"GET / HTTP/1.1\r\n\r\n".to_vec()), expect: Some(expect.to_vec()) };
    assert_eq!(check(server, Probe::Tls(secret(), talk(b"200 OK")), PATIENCE).await, Finding::Said);
    assert_eq!(check(server, Probe::Tls(secret(), talk(b"404")), PATIENCE).await, Finding::OtherAnswer);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_so() {
    assert_eq!(check(nobody().await, bare(tls(false, None, None)), PATIENCE).await, Finding::Refused);
    let plain = Server::start(vec![Manner::Greet("220 mail.example ESMTP\r\n".to_owned())]).await;
    assert_eq!(check(plain.address, bare(tls(false, None, None)), PATIENCE).await, Finding::NotTls);
    let leaving = Server::start(vec![Manner::Leave]).await;
    let found = check(leaving.address, bare(tls(false, None, None)), PATIENCE).await;
    assert!(matches!(found, Finding::Closed | Finding::Reset), "{found:?}");
}
