//! Whom a TLS check believes.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use std::path::PathBuf;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// The certificates of those who vouch for backends, read with the file: who writes others there reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authorities {
    /// Where they were read.
    pub path: PathBuf,
    /// Each as its DER encoding; at least one.
    pub certificates: Vec<Vec<u8>>,
}

impl Authorities {
    fn read(path: PathBuf) -> Result<Self, String> {
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut certificates = Vec::new();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| format!("{}: {error}", path.display()))?;
            certificates.push(certificate.to_vec());
            roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if certificates.is_empty() {
            return Err(format!("{} has no certificate in PEM form", path.display()));
        }
        Ok(Self { path, certificates })
    }
}

impl<'de> Deserialize<'de> for Authorities {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::read(PathBuf::deserialize(input)?).map_err(D::Error::custom)
    }
}

/// A name or an address that a certificate may be for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertifiedName(pub ServerName<'static>);

impl<'de> Deserialize<'de> for CertifiedName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let name = ServerName::try_from(text.clone());
        name.map(Self).map_err(|_| {
            D::Error::custom(format!("a certificate is for a name like web.example, or an address, not \"{text}\""))
        })
    }
}
