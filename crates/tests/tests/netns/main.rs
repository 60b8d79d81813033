//! Real programs in network namespaces, as their users run them. Each test plays in a sandbox and a process of its own
//! ([`evenkeel_tests::testbed`]), so that they run side by side.

mod changes;
mod checks;
mod churn;
mod configuration;
mod dpdk;
mod extent;
mod floods;
mod health;
mod ipv6;
mod leaving;
mod metrics;
mod nobody;
mod operate;
mod ranges;
mod reading;
mod replies;
mod restart;
mod service;
mod strangers;
mod top;
mod traffic;
mod unlucky;
mod walkthrough;
mod xdp;
