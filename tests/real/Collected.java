import java.io.FileWriter;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * Threads that fill maps with arrays and throw most of them away, so that the garbage collector is always busy.
 *
 * <p>java Collected.java STEPS: appends to thread-N.log, writes result.txt, exits with 25.
 */
public class Collected {
  private static final int THREADS = 3;
  private static final int KEYS = 3000;

  private static long step(Map<Integer, byte[]> map, Random random) {
    for (int i = 0; i < KEYS; i++) {
      byte[] array = new byte[1 + random.nextInt(2000)];
      array[array.length - 1] = (byte) i;
      map.put(random.nextInt(KEYS), array);
    }
    return map.values().stream().mapToLong(array -> array.length * 257L + array[array.length - 1]).sum();
  }

  private static long work(int number, int steps) {
    Map<Integer, byte[]> map = new HashMap<>();
    Random random = new Random(number);
    long sum = 0;
    try (FileWriter log = new FileWriter("thread-" + number + ".log", true)) {
      for (int i = 0; i < steps; i++) {
        sum = sum * 31 + step(map, random);
        log.write(i + " " + sum + "\n");
        log.flush();
      }
    } catch (IOException problem) {
      throw new RuntimeException(problem);
    }
    return sum;
  }

  public static void main(String[] arguments) throws Exception {
    int steps = Integer.parseInt(arguments[0]);
    long[] sums = new long[THREADS];
    Thread[] threads = IntStream.range(0, THREADS).mapToObj(n -> new Thread(() -> sums[n] = work(n, steps))).toArray(Thread[]::new);
    for (Thread thread : threads) thread.start();
    for (Thread thread : threads) thread.join();
    long collections = ManagementFactory.getGarbageCollectorMXBeans().stream().mapToLong(bean -> bean.getCollectionCount()).sum();
    Files.writeString(Path.of("result.txt"), Arrays.toString(sums) + (collections > steps / 2 ? " collected" : "") + "\n");
    System.exit(25);
  }
}
