/** In a file and so a process of its own: one process computes with one engine. */
import { describeOracles } from '../support/oracle-suite.ts';

process.env['GRAFT_TEST_ENGINE'] = 'native';
describeOracles('native');
