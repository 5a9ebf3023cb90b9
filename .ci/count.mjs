// Prints `PASSED FAILED` of a vitest JSON report. A file that could not be loaded, an error outside of any test, and a
// report that was never written each count as one failure: nothing that went wrong may look like nothing to report.
import { existsSync, readFileSync } from 'node:fs';

const [file, exitStatus] = process.argv.slice(2);
if (!existsSync(file)) {
  console.log('0 1');
} else {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const broken = report.testResults.filter((result) => result.status === 'failed' && !result.assertionResults.some((test) => test.status === 'failed'));
  for (const { name, message } of broken) console.error(`${name}: ${message}`);
  const failed = report.numFailedTests + broken.length;
  console.log(`${report.numPassedTests} ${failed === 0 && exitStatus !== '0' ? 1 : failed}`);
}
