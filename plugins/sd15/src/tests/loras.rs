//! LoRAs from params to pictures.

use super::*;

#[test]
fn loras_are_pointed_at_when_they_cannot_be_named_or_are_too_strong() {
    assert_eq!(
        pointers(json!({"lora_dict": {"org/name": 0.5, "a/b/c~d.safetensors": -1}})),
        [""; 0]
    );
    assert_eq!(
        pointers(
            json!({"lora_dict": {"org/na~me": 100.5, "../up": 1, "/ok": 1, "": 1, "a/.b": 1}})
        ),
        ["/lora_dict/", "/lora_dict/..~1up", "/lora_dict/a~1.b", "/lora_dict/org~1na~0me"]
    );
    let many = |count: usize| {
        (0..count).map(|index| (format!("a/{index}"), json!(1))).collect::<Map<_, _>>()
    };
    assert_eq!(pointers(json!({"lora_dict": many(32)})), [""; 0]);
    assert_eq!(pointers(json!({"lora_dict": many(33)})), ["/lora_dict"]);
}

#[test]
fn a_lora_that_is_not_there_or_does_not_fit_is_warned_of() {
    let warnings = |loras| plan_of(&tiny(json!({"lora_dict": loras}))).warnings;
    assert_eq!(warnings(json!({"test/lora-sd15-tiny": 0.5})), [""; 0]);
    for (name, part) in [
        ("no/such", "models pull no/such"),
        ("test/taesd-tiny", "nothing in"),
        ("/etc/passwd", "outside the folders"),
    ] {
        let [warning] = &warnings(json!({name: 0.5}))[..] else { panic!("one warning for {name}") };
        assert!(warning.starts_with("Loading will fail: ") && warning.contains(part), "{warning}");
    }
}

#[test]
fn the_lcm_lora_is_used_where_it_is_wished_there_and_fits() {
    let refusal = |values| -> Option<String> {
        let unsupported = plan_of(&values).unsupported;
        unsupported.into_iter().find(|one| one.field == "use_lcm_lora").map(|one| one.reason)
    };
    let named = |id: &str| refusal(tiny(json!({"lcm_lora_id": id})));
    let reason = named("no/such").unwrap();
    for part in ["runs without", "models pull no/such", "models/no/such"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(named("test/taesd-tiny").unwrap().contains("nothing in"));
    assert!(named("../x").unwrap().contains("names no LoRA"));
    assert_eq!(named("test/lora-sd15-tiny"), None);
    assert_eq!(refusal(tiny(json!({"lcm_lora_id": "no/such", "use_lcm_lora": false}))), None);
    let reason = refusal(tiny(json!({}))).unwrap();
    assert!(reason.contains("768 wide") && !reason.contains("models pull"), "{reason}");
    let of_model =
        |id: &str| refusal(values(TINY, json!({"lcm_lora_id": "no/such", "model_id": id})));
    assert_eq!(of_model("org/my-turbo"), None);
    assert!(of_model("org/other").is_some());
}

#[test]
fn loras_change_the_picture() {
    let picture = |given: Value| {
        let host = Host::detached(environment());
        let values = tiny(given);
        let params = Params::of(TINY, &values);
        let loaded = Sd15::open(&host, &params).unwrap();
        shown(&mut loaded.open_stream(&host, &params).unwrap(), 1).0
    };
    let (kohya, peft) = ("test/lora-sd15-tiny/kohya.safetensors", "test/lora-sd15-tiny");
    let plain = picture(json!({"use_lcm_lora": false}));
    assert_eq!(picture(json!({"lcm_lora_id": "no/such"})), plain);
    assert_eq!(picture(json!({"use_lcm_lora": false, "lora_dict": {kohya: 0}})), plain);
    let lcm = picture(json!({"lcm_lora_id": kohya}));
    assert_ne!(lcm, plain);
    assert_eq!(picture(json!({"use_lcm_lora": false, "lora_dict": {kohya: 1}})), lcm);
    assert_ne!(picture(json!({"lcm_lora_id": kohya, "lora_dict": {peft: -2.5}})), lcm);
    let host = Host::detached(environment());
    let values = tiny(json!({"lora_dict": {"no/such": 1}}));
    let error = Sd15::open(&host, &Params::of(TINY, &values)).map(drop).unwrap_err();
    assert!(error.message.contains("models pull no/such"), "{error}");
}
