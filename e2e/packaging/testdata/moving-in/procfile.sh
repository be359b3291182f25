cat >/etc/systemd/system/notes.service <<'END'
[Unit]
Description=Notes

[Service]
User=notes
WorkingDirectory=/srv/notes
Environment=PATH=/srv/notes/venv/bin:/usr/bin:/bin
ExecStart=/srv/notes/venv/bin/honcho start
Restart=always

[Install]
WantedBy=multi-user.target
END
cat >/etc/nginx/conf.d/notes.conf <<'END'
server {
    listen 80;
    server_name notes.example.com;

    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
END
systemctl daemon-reload
systemctl enable --quiet --now notes
systemctl start nginx
