//! Name resolution that yields no forbidden address. The connection uses what this yields and nothing
//! else, so a name that changes its address between a check and the connection gains nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Network, special};
use super::error::Refusal;

/// The names of the system: its hosts file and its DNS servers.
pub struct System;

/// Whatever resolves the names, less what is not allowed.
pub(super) struct Guarded {
    pub names: Arc<dyn Resolve>,
    pub allowed: Arc<[Network]>,
}

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, allowed) = (name.as_str().to_owned(), Arc::clone(&self.allowed));
        let found = self.names.resolve(name);
        Box::pin(async move {
            let (mut usable, mut refusal) = (Vec::<SocketAddr>::new(), None);
            for found in found.await? {
                let address = found.ip();
                match special(address, &allowed) {
                    None => usable.push(found),
                    Some(special) => {
                        refusal = Some(Refusal::Address { host: host.clone(), address, special });
                    }
                }
            }
            match refusal {
                Some(refusal) if usable.is_empty() => Err(refusal.into()),
                _ => Ok(Box::new(usable.into_iter()) as Addrs),
            }
        })
    }
}
