//! One test binary: every test that needs a server, the network or the program itself.

mod vod_client;
mod simulator;
mod ledger_contract;
mod local;
mod redis_ledger;
mod redis_server;
mod queue_contract;
mod rabbit;
mod servers;
