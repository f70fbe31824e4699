//! What plugins tell the users of streams while they work.

use crate::processors::{host, wish};
use crate::support::{Host, Stream, compiled};
use host_ports::PipelineCatalog;
use serde_json::{Value, json};

fn told(stream: &Stream) -> Vec<String> {
    stream.pipeline.notices().iter().map(ToString::to_string).collect()
}

#[test]
fn a_pipeline_in_c_tells_as_long_as_it_holds_and_only_text_comes_through() {
    let host = Host::with(&["plugin_faulty"]);
    let file = host.plugins.join("invert.so");
    compiled("invert.c", &["NOTICE=\"pictures \\x1b[31mstay\\r\\nas they are \""], &file);
    host.wait_until("the library in C", |catalog| catalog.plugins().len() == 2);
    let mut stream = host.loaded("c-invert", json!({ "strength": 0 }));
    let expected = ["c-invert: pictures [31mstay as they are"];
    assert_eq!(told(&stream), expected, "from opening on");
    stream.expect(200, 200);
    assert_eq!(told(&stream), expected);
    stream.update("strength", 255).unwrap();
    assert_eq!(told(&stream), [""; 0], "without a frame");
    stream.update("strength", 0).unwrap();
    assert_eq!(told(&stream), expected);
    assert!(stream.update("strength", 256).is_err());
    assert_eq!(told(&stream), expected, "a change that is refused changes nothing");
    stream.set("strength", 1);
    stream.load().unwrap();
    assert_eq!(told(&stream), [""; 0], "that was another stream's");
}

#[test]
fn what_is_lent_tells_under_its_own_name_until_it_is_closed() {
    let host = host();
    compiled("swap.c", &[], &host.plugins.join("swap.so"));
    host.wait_until("the stranger", |catalog| catalog.plugins().len() == 3);
    let mut stream = host.loaded("faulty", json!({ "processor": wish("swap", json!({})) }));
    assert_eq!(told(&stream), [""; 0]);
    stream.expect(200, 200);
    let expected = ["swap: the picture is grey; nothing is to be seen of it"];
    assert_eq!(told(&stream), expected);
    stream.update("processor", Value::Null).unwrap();
    assert_eq!(told(&stream), [""; 0]);
    stream.update("processor", wish("swap", json!({}))).unwrap();
    stream.expect(200, 200);
    assert_eq!(told(&stream), expected);
    stream.update("fault", "abort").unwrap();
    assert!(stream.process(200).unwrap_err().needs_restart());
    assert_eq!(told(&stream), [""; 0], "with the worker goes what it told");
}
