"""Apache Kafka's server as jars: fetched from Maven Central once, kept in the user's cache folder.

Run as a program it fetches them where they are missing and prints the folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from server_process import ServerUnavailable

VERSION = "4.1.1"
JAVA = 17
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_SECONDS = 600
# The second one lets the server say on its output what is wrong.
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-server</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""


def kafka_jars() -> Path:
    """The folder of the jars, fetched where they are not there yet: some 45 MB, a minute or so.

    Several processes may ask at once. Raises ServerUnavailable with what to install."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventing-servers"
    folder = cache / f"kafka-{VERSION}"
    if folder.is_dir():
        return folder
    if shutil.which("mvn") is None:
        raise ServerUnavailable(
            "Maven (mvn) fetches Apache Kafka's server and is not installed: apt install maven"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as temporary:
        project = Path(temporary) / "pom.xml"
        project.write_text(_POM)
        jars = Path(temporary) / "jars"
        _fetch(project, jars)
        try:
            jars.rename(folder)
        except OSError:
            # Another process was faster; what it put there is as good.
            if not folder.is_dir():
                raise
    return folder


def java() -> str:
    """The program that runs the jars. Raises ServerUnavailable where there is none of at least
    Java 17."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    install = f"Apache Kafka needs Java {JAVA} or newer: apt install default-jre-headless"
    if program is None:
        raise ServerUnavailable(f"there is no java on this machine. {install}")
    told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60)
    found = re.search(r'version "(\d+)', told.stderr)
    if found is None or int(found[1]) < JAVA:
        version = told.stderr.partition("\n")[0].strip() or "of no known version"
        raise ServerUnavailable(f"{program} is {version}. {install}")
    return program


def _fetch(project: Path, jars: Path) -> None:
    command = ["mvn", "--batch-mode", "--quiet", "--file", str(project), _PLUGIN]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise ServerUnavailable(
            f"Maven did not fetch Apache Kafka {VERSION} within {_FETCH_SECONDS} s"
        ) from None
    if ran.returncode != 0 or not list(jars.glob(f"kafka_2.13-{VERSION}.jar")):
        said = (ran.stdout + ran.stderr).strip()[-1_500:]
        raise ServerUnavailable(f"Maven could not fetch Apache Kafka {VERSION}; it said:\n{said}")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{kafka_jars()}\n")
    except ServerUnavailable as error:
        sys.exit(str(error))
