use nsharness::scenario;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let files = match scenario::discover(&[path.into()]) {
        Ok(f) => f,
        Err(e) => {
            for d in e {
                println!("{}", d.render(false));
            }
            return;
        }
    };
    for f in files {
        let r = scenario::read(&f.path).map_err(|d| vec![*d]).and_then(|s| {
            scenario::resolve(&f, &s, scenario::KnownNames { probes: &["nfs", "overlay"] })
        });
        match r {
            Ok(c) => println!("{}", serde_json::to_string(&c[0].plan).unwrap()),
            Err(e) => {
                for d in e {
                    println!("{}\n", d.render(false));
                }
            }
        }
    }
    if false {
        println!("{}", serde_json::to_string_pretty(&scenario::schema::schema(&["nfs"])).unwrap());
    }
}
