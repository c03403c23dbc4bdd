//! The list of adapters, and how one of them is asked for.

use wgconv::{Engine, EngineDesc, ErrorKind};

fn open(adapter: &str) -> wgconv::Result<Engine> {
    Engine::new(&EngineDesc { adapter: Some(adapter.into()), ..Default::default() })
}

#[test]
fn every_listed_adapter_opens_by_its_number_with_the_features_and_limits_that_the_list_says() {
    let adapters = Engine::adapters();
    assert!(!adapters.is_empty(), "these tests need a GPU adapter, a software one will do");
    for (index, adapter) in adapters.iter().enumerate().filter(|(_, adapter)| adapter.compute) {
        assert_eq!(adapter.index, index);
        let engine = open(&index.to_string()).unwrap();
        assert_eq!(engine.adapter(), &adapter.summary);
        assert_eq!(engine.limits(), &adapter.limits);
        let text = adapter.to_string();
        let buffer = format!("buffers {} bytes", adapter.limits.buffer_bytes);
        assert!(text.contains(&adapter.summary.to_string()) && text.contains(&buffer), "{text}");
    }
    let first = adapters.iter().find(|adapter| adapter.compute).unwrap();
    if std::env::var_os("WGPU_ADAPTER_NAME").is_none() {
        assert_eq!(Engine::new(&EngineDesc::default()).unwrap().adapter(), &first.summary);
    }
}

#[test]
fn a_part_of_a_name_in_any_case_is_enough() {
    let name = Engine::adapters().into_iter().find(|adapter| adapter.compute).unwrap().summary.name;
    let engine = open(&name.to_uppercase()).unwrap();
    assert_eq!(engine.adapter_name(), name);
}

#[test]
fn an_unknown_adapter_is_refused_with_the_numbers_and_names_that_there_are() {
    for wanted in ["no such adapter", "9999999"] {
        let error = open(wanted).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoAdapter);
        let listed =
            Engine::adapters().iter().all(|adapter| error.message().contains(&format!("{}: {}", adapter.index, adapter.summary)));
        assert!(error.message().contains(wanted) && listed, "{error}");
    }
}
