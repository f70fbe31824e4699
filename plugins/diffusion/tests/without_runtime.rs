//! A process in which ONNX Runtime is not there.

use std::path::PathBuf;

use plugins_diffusion::engine::{Backend, Engine, EngineOptions};
use plugins_diffusion::onnx::Provider;

#[test]
fn candle_takes_over_and_says_why() {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        println!("skipped: ORT_DYLIB_PATH names a library");
        return;
    }
    let options = |backend| EngineOptions {
        backend,
        providers: vec![Provider::Cuda, Provider::Cpu],
        runtime: PathBuf::from("/nowhere/runtime"),
        engines: PathBuf::from("/nowhere"),
        has_cuda_graphs: true,
        threads: 1,
    };
    let report = Engine::start(&options(Backend::Any)).unwrap().report();
    assert_eq!((report.backend, report.provider), ("candle", "cpu"));
    assert_eq!(report.refused.len(), 1);
    assert!(report.refused[0].reason.contains("/nowhere/runtime"), "{:?}", report.refused);
    let error = Engine::start(&options(Backend::Onnx)).map(drop).unwrap_err().to_string();
    assert!(error.contains("./dev setup"), "{error}");
}
