//! Work on all cores. The one place that says `rayon`.
//!
//! It runs on threads of the library's own, and whoever waits for it does nothing else meanwhile. In rayon a worker that waits takes
//! up other tasks of its pool: if a caller runs networks as tasks of a pool, a worker that holds a lock while the reference computes
//! would begin another run and wait for that lock, for ever. And if all workers of the global pool wait for a lock whose holder waits
//! for a worker of it, nobody goes on. The threads here run functions that never wait, so that both cannot happen.

use std::sync::OnceLock;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// `one` of each number below `count`, in order.
pub(crate) fn collect<R: Send>(count: usize, one: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let shared = || (0..count).into_par_iter().map(&one).collect();
    apart(count, shared).unwrap_or_else(|| (0..count).map(&one).collect())
}

/// Calls `one` with the number and the elements of each piece of `size` elements; the last may be shorter.
pub(crate) fn pieces<T: Send>(list: &mut [T], size: usize, one: impl Fn(usize, &mut [T]) + Sync) {
    let count = list.len().div_ceil(size);
    let call = |(number, piece): (usize, &mut [T])| one(number, piece);
    if apart(count, || list.par_chunks_mut(size).enumerate().for_each(call)).is_none() {
        list.chunks_mut(size).enumerate().for_each(call);
    }
}

/// Runs work of so many parts on the library's threads; `None`, and nothing is done, where one thread is as good or there are no more.
fn apart<R: Send>(parts: usize, work: impl FnOnce() -> R + Send) -> Option<R> {
    static THREADS: OnceLock<Option<ThreadPool>> = OnceLock::new();
    if parts < 2 {
        return None;
    }
    let build = || ThreadPoolBuilder::new().thread_name(|number| format!("wgconv {number}")).build().ok();
    let threads = THREADS.get_or_init(build).as_ref()?;
    let callers = rayon::current_thread_index().is_some() && threads.current_thread_index().is_none();
    if !callers {
        return Some(threads.install(work));
    }
    // A worker of a caller's pool would take up tasks of it while `install` waits; joining a thread is only that.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || threads.install(work)).ok()?;
        Some(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_are_in_order_and_every_piece_is_visited_once() {
        for count in [0, 1, 2, 1000] {
            assert_eq!(collect(count, |number| number * number), (0..count).map(|number| number * number).collect::<Vec<_>>());
        }
        let mut list = vec![0; 103];
        pieces(&mut list, 10, |number, piece| {
            let length = piece.len();
            piece.iter_mut().for_each(|element| *element += number * 100 + length);
        });
        assert_eq!((list[0], list[99], list[102]), (10, 910, 1003));
        pieces(&mut [0; 0], 10, |_, _| unreachable!());
    }

    #[test]
    fn a_worker_that_waits_takes_up_no_other_task() {
        for threads in [1, 2] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a few threads");
            let waiting = Mutex::new(None);
            pool.scope(|scope| {
                *waiting.lock().expect("no task panics") = rayon::current_thread_index();
                scope.spawn(|_| {
                    let other = *waiting.lock().expect("no task panics");
                    assert_ne!(other, rayon::current_thread_index(), "of {threads} threads");
                });
                // Long enough for a worker to find something else to do.
                collect(2, |_| std::thread::sleep(Duration::from_millis(50)));
                *waiting.lock().expect("no task panics") = None;
            });
        }
    }

    #[test]
    fn a_panic_of_the_work_is_the_callers() {
        let call = || drop(collect(100, |number| assert_ne!(number, 77)));
        assert!(std::panic::catch_unwind(call).is_err());
        let pool = ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.install(call))).is_err());
    }
}
