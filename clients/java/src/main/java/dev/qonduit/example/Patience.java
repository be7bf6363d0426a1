// SPDX-License-Identifier: Apache-2.0
package dev.qonduit.example;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.function.Supplier;

/**
 * Waits for a server that is away. Safe for every call made here: request_id makes it so for
 * CreateJob, after_sequence for WatchJob, and reading changes nothing.
 */
final class Patience {
  private static final int MOST_FAILURES = 12; // Half a minute in a row.

  private int failures;

  /** Makes a call, as often as it takes. */
  static <T> T repeat(Supplier<T> rpc) throws InterruptedException {
    Patience patience = new Patience();
    while (true) {
      try {
        return rpc.get();
      } catch (StatusRuntimeException error) {
        patience.waitAfter(error);
      }
    }
  }

  /** Forgets earlier failures. */
  void renew() {
    failures = 0;
  }

  /** Waits longer after each consecutive failure; rethrows errors that a retry cannot resolve. */
  void waitAfter(StatusRuntimeException error) throws InterruptedException {
    boolean away = error.getStatus().getCode() == Status.Code.UNAVAILABLE;
    if (!away || ++failures > MOST_FAILURES) {
      throw error;
    }
    long pause = 100L << Math.min(failures, 5); // 0.2 s, 0.4 s ... 3.2 s
    System.err.println("trying again in " + pause + " ms: " + Bell.describe(error));
    Thread.sleep(pause);
  }
}
