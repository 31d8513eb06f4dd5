//! The rivals, one file each.

mod horust;
mod left_out;
mod pm2;
mod runit;
mod s6;
mod supervisord;
pub mod swrun;
mod systemd;

use crate::manager::Peer;

/// All of them, swrun first; those that cannot be had here say so themselves.
pub fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(swrun::Swrun { instances: 1 }),
        Box::new(swrun::Swrun { instances: 2 }),
        Box::new(pm2::Pm2 { is_cluster: false }),
        Box::new(pm2::Pm2 { is_cluster: true }),
        Box::new(supervisord::Supervisord),
        Box::new(runit::Runit),
        Box::new(s6::S6),
        Box::new(horust::Horust),
        Box::new(left_out::PMC),
        Box::new(left_out::PMDAEMON),
        Box::new(systemd::Systemd),
    ]
}
