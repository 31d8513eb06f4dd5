//! The cage of an instance, seen from inside by a probe.

mod bed;

use bed::{Bed, get};
use serde_json::Value;

#[test]
fn the_app_is_its_user_and_nothing_more() {
    let bed = Bed::running();
    let app = bed.app("shop");
    bed.probe(&app, "");
    bed.start(&app);
    let report: Value =
        serde_json::from_str(&get(app.port, "/report").expect("it answers")).expect("JSON");
    assert_eq!(report["uid"], serde_json::json!([app.uid, app.uid, app.uid, app.uid]));
    bed.end();
}
