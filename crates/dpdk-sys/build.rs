//! Finds the system's libdpdk by pkg-config, makes bindings to the few functions that the safe layer calls, and compiles
//! the shim for those that are inline in C. Everything that differs between releases of DPDK is settled here and in
//! `src/shim.h`.

use std::env;
use std::path::PathBuf;

/// The oldest release that has all we use; later ones keep it (stable ABI within a year, API beyond).
const OLDEST: &str = "22.11";

/// The libraries we call into. pkg-config would name every library that there is; the drivers among them are loaded by
/// EAL at run time, from the folder that the release is built for.
const LIBRARIES: &[&str] =
    &["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_net_ring", "rte_hash"];

const FUNCTIONS: &[&str] = &[
    "evenkeel_.*",
    "rte_eal_(init|cleanup|remote_launch|wait_lcore|hotplug_add|hotplug_remove)",
    "rte_(get_main_lcore|get_next_lcore|lcore_count|lcore_cpuset|socket_id|strerror|version)",
    "rte_eth_(find_next_owned_by|from_rings|macaddr_get|promiscuous_enable|allmulticast_enable|link_get_nowait|stats_get|stats_reset)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_dev_rx_intr_(ctl_q|enable|disable)",
    "rte_epoll_wait",
    "rte_eth_dev_(set_mc_addr_list|set_mtu|get_mtu|configure|info_get|start|stop|close|socket_id|get_name_by_port|get_port_by_name|adjust_nb_rx_tx_desc)",
    "rte_pktmbuf_(pool_create_by_ops|free_bulk)",
    "rte_mempool_(free|avail_count|in_use_count)",
    "rte_ring_(create|free)",
    "rte_hash_(create|free|add_key|lookup_bulk|count)",
    "rte_malloc_(get_socket_stats|heap_create|heap_memory_add|heap_get_socket)",
];

fn main() {
    println!("cargo::rerun-if-changed=src/shim.h");
    println!("cargo::rerun-if-changed=src/shim.c");
    let found = pkg_config::Config::new().atleast_version(OLDEST).cargo_metadata(false).probe("libdpdk");
    let library = match found {
        Ok(library) => library,
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            println!(
                "cargo::error=libdpdk {OLDEST} or newer was not found, which the DPDK plane needs: install it (Debian: libdpdk-dev), or build without that plane by leaving out --workspace ({reason})"
            );
            return;
        }
    };
    for path in &library.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for name in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={name}");
    }

    let includes: Vec<_> = library.include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
    // As pkg-config says, which this crate's interface does not hand on: the instruction set that DPDK's headers are
    // written for, and its configuration before anything else.
    let flags = ["-march=corei7", "-include", "rte_config.h"];

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    let mut bindings = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(&includes)
        .clang_args(flags)
        .allowlist_type("evenkeel_.*|rte_eth_(conf|dev_info|link|stats)|rte_epoll_event|rte_hash_parameters|rte_malloc_socket_stats")
        .allowlist_var(
            "RTE_(MAX_LCORE|MAX_ETHPORTS|ETH_NAME_MAX_LEN|MBUF_DEFAULT_BUF_SIZE|ETH_MQ_RX_RSS|INTR_EVENT_ADD|ETH_SPEED_NUM_UNKNOWN|ETH_DEV_NO_OWNER)|RING_F_.*|EVENKEEL_.*",
        )
        // Known only as places in memory, by the offsets in shim.h.
        .opaque_type("rte_mbuf|rte_mempool|rte_ring|rte_hash")
        // Packed structures with aligned fields, which Rust does not have.
        .opaque_type("rte_arp_.*|rte_gtp_.*|rte_l2tpv2_.*")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_comments(false);
    for function in FUNCTIONS {
        bindings = bindings.allowlist_function(function);
    }
    let written = bindings
        .generate()
        .map_err(|error| error.to_string())
        .and_then(|bindings| bindings.write_to_file(&out).map_err(|error| error.to_string()));
    if let Err(error) = written {
        println!(
            "cargo::error=cannot make bindings to libdpdk: {} (Debian: install libclang-dev)",
            error.replace('\n', " ")
        );
        return;
    }

    let mut shim = cc::Build::new();
    shim.file("src/shim.c").includes(&library.include_paths);
    for flag in flags {
        shim.flag(flag);
    }
    shim.compile("evenkeel-dpdk-shim");
}
