import java.io.File;

/**
 * Verifies packages in one virtual machine by the tools' own classes: `apk FILE...` or `jar FILE...`.
 *
 * Prints how many were verified, how many not.  Run with apksig.jar on the class path, and
 * `--add-exports jdk.jartool/sun.security.tools.jarsigner=ALL-UNNAMED`.
 */
public class Verifying {
    public static void main(String[] words) throws Exception {
        int good = 0;
        int bad = 0;
        java.io.PrintStream told = System.out;
        for (int at = 1; at < words.length; at++) {
            boolean fine = words[0].equals("apk") ? apk(words[at]) : jar(words[at]);
            good += fine ? 1 : 0;
            bad += fine ? 0 : 1;
        }
        System.setOut(told);
        System.out.println(good + " " + bad);
        System.exit(bad == 0 ? 0 : 1);
    }

    private static boolean apk(String path) throws Exception {
        var verifier = new com.android.apksig.ApkVerifier.Builder(new File(path)).build();
        return verifier.verify().isVerified();
    }

    private static boolean jar(String path) throws Exception {
        var out = new java.io.ByteArrayOutputStream();
        System.setOut(new java.io.PrintStream(out));
        sun.security.tools.jarsigner.Main.main(new String[] {"-verify", path});
        return out.toString().contains("jar verified.");
    }
}
