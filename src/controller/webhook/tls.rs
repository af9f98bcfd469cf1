//! The server's side of TLS, from a certificate in PEM. HTTP/1.1 only.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use tokio_rustls::TlsAcceptor as Acceptor;

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read PEM: {0}")]
    Pem(#[from] pem::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
}

/// Accepts connections with that certificate and its key.
pub fn acceptor(certificate: &str, key: &str) -> Result<Acceptor, Error> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Acceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::jiff::Timestamp;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::webhook::certificate::{Certificate, LIFE};
    use crate::webhook::kept::Kept;

    const HOST: &str = "chronik-operator.chronik.svc";

    /// Shakes hands with a server that shows the certificate, as a client that calls `host` and trusts `authorities`.
    async fn shake(shown: &Certificate, authorities: &str, host: &'static str) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(16 << 10);
        let acceptor = acceptor(&shown.certificate, &shown.key).unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let (server, client) =
            tokio::join!(acceptor.accept(far), connector.connect(host.try_into().unwrap(), near));
        client.map_err(|error| error.to_string())?;
        server.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_certificate_is_good_for_its_host_and_for_those_who_trust_its_authority() {
        let now = Timestamp::now();
        let (own, other) = (Certificate::make(HOST, now).unwrap(), Certificate::make(HOST, now).unwrap());
        shake(&own, &own.authority, HOST).await.unwrap();
        let refused = shake(&own, &own.authority, "chronik-operator.shop.svc").await.unwrap_err();
        assert!(refused.contains("not valid for name"), "{refused}");
        shake(&own, &other.authority, HOST).await.unwrap_err();

        let ago = now - (LIFE + Duration::from_secs(10));
        let expired = Certificate::make(HOST, ago).unwrap();
        let refused = shake(&expired, &expired.authority, HOST).await.unwrap_err();
        assert!(refused.contains("expired"), "{refused}");
    }

    #[tokio::test]
    async fn before_and_after_it_is_replaced_the_same_callers_trust_it() {
        let [before, after] = [0, 1].map(|_| Certificate::make(HOST, Timestamp::now()).unwrap());
        let kept = Kept::first(before.clone()).with_next(after.clone());
        let trusted = kept.authorities();
        for shown in [&before, &after] {
            shake(shown, &trusted, HOST).await.unwrap();
        }
        assert_eq!(kept.with_next_taken().authorities(), trusted);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let made = Certificate::make(HOST, Timestamp::now()).unwrap();
        assert!(matches!(acceptor(&made.certificate, "no key"), Err(Error::Pem(_))));
        assert!(matches!(acceptor("", &made.key), Err(Error::Tls(_))));
        let other = Certificate::make(HOST, Timestamp::now()).unwrap();
        assert!(
            matches!(acceptor(&made.certificate, &other.key), Err(Error::Tls(_))),
            "of another certificate"
        );
    }
}
