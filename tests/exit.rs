//! An engine leaves no thread behind: one that still unloads the driver while the process ends reads code that is gone.

use wgconv::{Engine, EngineDesc, TensorDesc};

/// Threads of this process that poll a device for those who await.
#[cfg(target_os = "linux")]
fn pollers() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux lists the threads of a process");
    // A thread may end between being listed and being asked.
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "wgconv-poll").count()
}

#[cfg(target_os = "linux")]
#[test]
fn the_thread_that_polls_a_device_ends_with_its_engine() {
    let mut gone = 0;
    for _ in 0..20 {
        let engine =
            Engine::new(&EngineDesc::default()).unwrap_or_else(|error| panic!("these tests need a GPU adapter: {error}"));
        let x = engine.upload(&[1.0, 2.0], &TensorDesc::f32(&[2])).unwrap();
        assert_eq!(pollster::block_on(x.to_vec_async::<f32>()).unwrap(), [1.0, 2.0]);
        assert!(pollers() >= 1);
        drop((engine, x));
        gone += usize::from(pollers() == 0);
    }
    // The system may list a thread for a moment after it was waited for; one that nobody waits for is there every time.
    assert!(gone > 10, "only {gone} of 20 were gone");
}
