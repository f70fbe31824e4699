//! From a plugin's schema to everything that follows from it: nothing but the manifest says what a pipeline takes.

use serde_json::{Value, json};
use std::path::PathBuf;
use tests::browser;
use tests::host::Host;
use tests::http::request;
use tests::libraries::{c_plugin, install, library};

const PIPELINE: &str = "c-invert";
/// Stands before the place where a property can be added to the C plugin's manifest.
const PROPERTIES: &str = "\\\"properties\\\": {\"\n";
const SOFTNESS: &str = r#"{ "type": "number", "minimum": 0, "maximum": 1, "default": 0.25,
    "description": "How soft the result is.", "x-apply": "hot", "x-unit": "percent" }"#;

/// The C plugin, with one more property in its manifest and nothing else changed.
fn with_property(folder: &tempfile::TempDir, name: &str, schema: &str) -> PathBuf {
    let property: Value = serde_json::from_str(schema).expect("a schema");
    let line = format!("{:?}\n", format!("{name:?}: {property},"));
    c_plugin("invert", folder.path(), |source| {
        assert!(source.contains(PROPERTIES), "the manifest is written otherwise");
        let version = source.replace("\"1.0.0\"", "\"1.1.0\"");
        version.replacen(PROPERTIES, &format!("{PROPERTIES}{line}"), 1)
    })
}

fn params_schema(host: &Host, pipeline: &str) -> Value {
    let list = host.get("/v1/plugins").json();
    let pipelines = list["data"]["pipelines"].as_array().expect("a list").clone();
    let found = pipelines.into_iter().find(|each| each["pipeline"] == pipeline);
    found.map_or(Value::Null, |each| each["params_schema"].clone())
}

fn openapi_schema(host: &Host) -> Value {
    let document = host.get("/openapi.json").json();
    document["components"]["schemas"][format!("Params.{PIPELINE}.{PIPELINE}.0")].clone()
}

#[test]
fn a_param_added_to_a_schema_reaches_everything_with_no_other_edit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let host = Host::start(&[c_plugin("invert", folder.path(), |source| source)]);
    assert!(openapi_schema(&host)["properties"]["strength"].is_object());
    assert!(openapi_schema(&host)["properties"].get("softness").is_none());
    assert!(!host.run(&["params", PIPELINE]).contains("softness"));

    install(&with_property(&folder, "softness", SOFTNESS), &host.plugin_folder());
    let schema = host.wait_for("the new version is used", || {
        let schema = params_schema(&host, PIPELINE);
        schema["properties"].get("softness").is_some().then_some(schema)
    });

    // Validation.
    let body = json!({"pipeline": PIPELINE, "params": {"softness": 2}});
    let refused = host.send("POST", "/v1/streams", &body);
    assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("STREAMS/INVALID_PARAMS")));
    assert_eq!(
        refused.json()["details"][0],
        json!({"pointer": "/softness", "message": "must be at most 1, got 2"})
    );
    // OpenAPI.
    assert_eq!(
        openapi_schema(&host)["properties"]["softness"],
        serde_json::from_str::<Value>(SOFTNESS).expect("a schema")
    );
    assert_eq!(openapi_schema(&host), schema);
    // The default, in the answer.
    let stream = host.create(PIPELINE, json!({}));
    assert_eq!(stream.object["params"]["softness"], 0.25);
    // PATCH, hot.
    let path = format!("{}/params", stream.path());
    let patched = host.send("PATCH", &path, &json!({"softness": 0.5}));
    assert_eq!((patched.status, &patched.json()["params"]["softness"]), (200, &json!(0.5)));
    assert_eq!(host.send("PATCH", &path, &json!({"softness": "very"})).status, 400);
    // The page.
    let settings = [("PAGE_URL", host.url("/")), ("PARAM", "softness".into())];
    let field = browser::run("param.mjs", &settings).json();
    assert_eq!(
        field,
        json!({"label": "Softness (percent)", "type": "range", "min": "0", "max": "1", "value": "0.25",
               "help": "How soft the result is."})
    );
    // Help on the command line.
    let help = host.run(&["params", PIPELINE]);
    let expected =
        "softness: number, 0 to 1; default 0.25; in percent; hot\n    How soft the result is.\n";
    assert!(help.contains(expected), "{help}");
}

#[test]
fn a_file_dropped_in_adds_choices_to_the_schemas_of_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let slot = r#"{ "type": "string", "enum": ["none"], "default": "none", "x-slot": "image-processor",
        "description": "What is done first.", "x-apply": "hot" }"#;
    let host = Host::start(&[with_property(&folder, "first", slot)]);
    let choices = || params_schema(&host, PIPELINE)["properties"]["first"]["enum"].clone();
    let create = |first: &str| {
        host.send("POST", "/v1/streams", &json!({"pipeline": PIPELINE, "params": {"first": first}}))
    };
    assert_eq!(choices(), json!(["none"]));
    assert_eq!(create("blur").json()["details"][0]["message"], "must be one of none, got \"blur\"");

    let file = install(&library("processors"), &host.plugin_folder());
    host.wait_for("the choices are there", || (choices() != json!(["none"])).then_some(()));
    let all = choices();
    let all = all.as_array().expect("a list");
    assert_eq!((all.len(), &all[0], &all[1]), (21, &json!("none"), &json!("blur")), "{all:?}");
    assert_eq!(openapi_schema(&host)["properties"]["first"]["enum"], choices());
    assert!(host.run(&["params", PIPELINE]).contains("first: one of none, blur, canny"));
    let list = host.get("/v1/plugins").json();
    let plugins = list["data"]["plugins"].as_array().expect("a list");
    let plugin = plugins.iter().find(|plugin| plugin["id"] == "processors").expect("listed");
    assert_eq!((&plugin["state"], &plugin["pipelines"]), (&json!("accepted"), &json!([])));
    assert_eq!(plugin["features"], json!(["image-processor/0"]));
    let contributed = &plugin["contributes"][0];
    assert_eq!(
        (&contributed["slot"], &contributed["values"][0]),
        (&json!("image-processor"), &json!("blur"))
    );

    let stream = host.create(PIPELINE, json!({"first": "blur"}));
    stream.wait_until("its pipeline runs", |status| status["status"] == "running");
    std::fs::remove_file(file).expect("the file is there");
    host.wait_for("the choices are gone", || (choices() == json!(["none"])).then_some(()));
    assert_eq!(create("blur").status, 400);
    assert_eq!(stream.status()["status"], "running", "a running stream goes on");
}

/// All that is needed to name what Daydream's clients can name.
fn all_plugins() -> Vec<PathBuf> {
    ["sd15", "sdxl", "controlnet", "ip-adapter", "processors"].map(library).to_vec()
}

#[test]
fn one_pipeline_of_two_plugins_takes_the_models_of_both() {
    let host = Host::start(&all_plugins());
    let body = json!({"pipeline": "streamdiffusion", "params": {"model_id": "no/such"}});
    let error = host.send("POST", "/v1/streams", &body).json()["error"].to_string();
    for model in ["stabilityai/sd-turbo", "stabilityai/sdxl-turbo", "prompthero/openjourney-v4"] {
        assert!(error.contains(model), "{error}");
    }
    let document = host.get("/openapi.json").json();
    let params =
        &document["components"]["schemas"]["CreateStream.streamdiffusion"]["properties"]["params"];
    let models = params["discriminator"]["mapping"].as_object().expect("told apart by model");
    assert_eq!(models.len(), 4, "{params}");
    let of = |model: &str| host.run(&["params", "streamdiffusion", "--model", model]);
    assert!(of("stabilityai/sdxl-turbo").contains("one of regular, faceid"));
    assert!(!of("stabilityai/sd-turbo").contains("cached_attention"));
}

#[test]
fn controlnets_are_those_of_the_models_family() {
    let host = Host::start(&all_plugins());
    for (model, own, others) in [
        (
            "stabilityai/sd-turbo",
            "thibaud/controlnet-sd21-canny-diffusers",
            "xinsir/controlnet-canny-sdxl-1.0",
        ),
        (
            "stabilityai/sdxl-turbo",
            "xinsir/controlnet-canny-sdxl-1.0",
            "lllyasviel/control_v11p_sd15_canny",
        ),
        (
            "Lykon/dreamshaper-8",
            "lllyasviel/control_v11p_sd15_canny",
            "thibaud/controlnet-sd21-canny-diffusers",
        ),
    ] {
        let create = |controlnet: &str, preprocessor: &str| {
            let controlnet = json!({"model_id": controlnet, "preprocessor": preprocessor});
            let params = json!({"model_id": model, "controlnets": [controlnet]});
            host.send(
                "POST",
                "/v1/streams",
                &json!({"pipeline": "streamdiffusion", "params": params}),
            )
        };
        let created = create(own, "canny");
        assert_eq!(created.status, 201, "{}", created.text);
        let warnings = created.json()["warnings"].to_string();
        assert!(warnings.contains("The picture is not steered: model"), "{warnings}");
        for (refused, pointer) in [
            (create(others, "canny"), "/controlnets/0/model_id"),
            (create(own, "no-such"), "/controlnets/0/preprocessor"),
        ] {
            assert_eq!(refused.status, 400, "{model}: {}", refused.text);
            assert_eq!(refused.json()["details"][0]["pointer"], pointer, "{}", refused.text);
        }
    }
    let adapter = |model: &str, adapter: Value| {
        let params = json!({"model_id": model, "ip_adapter": adapter});
        host.send("POST", "/v1/streams", &json!({"pipeline": "streamdiffusion", "params": params}))
            .status
    };
    assert_eq!(adapter("stabilityai/sd-turbo", json!({"enabled": true})), 400);
    assert_eq!(adapter("stabilityai/sd-turbo", json!({"enabled": false})), 201);
    assert_eq!(adapter("Lykon/dreamshaper-8", json!({"type": "faceid"})), 400);
    assert_eq!(
        adapter("stabilityai/sdxl-turbo", json!({"type": "faceid", "weight_type": "ease in-out"})),
        201
    );
    assert_eq!(adapter("stabilityai/sdxl-turbo", json!({"weight_type": "none"})), 400);
}

#[test]
fn a_model_that_is_not_there_is_named_with_its_media_up() {
    let host = Host::start(&all_plugins());
    let stream = host.create("streamdiffusion-sdxl", json!({"model_id": "test/no-such"}));
    let warnings = stream.object["warnings"].to_string();
    assert!(warnings.contains("Loading will fail"), "{warnings}");
    let status = stream.wait_until("the stream fails", |status| status["status"] == "error");
    let error = status["error_message"].as_str().expect("an error is told");
    assert!(error.contains("models pull test/no-such"), "{error}");
    let offer = request("POST", &stream.text("whip_url"), Some("application/sdp"), b"no SDP");
    assert_eq!(offer.status, 400, "media is up and looks at the offer: {}", offer.text);
}
