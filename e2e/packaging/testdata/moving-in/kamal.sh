# Docker cannot run here. The real kamal-proxy and the app run without containers: the app as the
# Dockerfile's CMD starts it, on an address of its own as a container has.
ip address add 172.18.0.1/16 dev lo
ip address add 172.18.0.3/16 dev lo
git config --system url.file:///srv/git/board.insteadOf https://git.example.com/board.git
git config --system safe.directory '*'
git clone --quiet file:///srv/git/board /opt/app
systemd-run --quiet --unit=board-container --property=WorkingDirectory=/opt/app --setenv=SECRET_KEY=unused --uid=orders \
	/srv/orders/venv/bin/gunicorn --workers 2 --threads 2 --bind 172.18.0.3:8000 board:app
timeout 60 sh -c 'until curl --silent --fail http://172.18.0.3:8000/up; do sleep 0.2; done'
systemd-run --quiet --unit=kamal-proxy --setenv=HOME=/root kamal-proxy run
timeout 60 sh -c 'until kamal-proxy list; do sleep 0.2; done'
kamal-proxy deploy board-web --target 172.18.0.3:8000 --host board.example.com --health-check-path /up
# docker exec kamal-proxy COMMAND
printf '#!/bin/sh\nset -e\n[ "$1 $2" = "exec kamal-proxy" ]\nshift 2\nexec "$@"\n' >/usr/local/bin/docker
chmod 755 /usr/local/bin/docker
